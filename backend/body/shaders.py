# SPDX-License-Identifier: Apache-2.0
"""What ``draw`` has the graphics card do, in GLSL: background, shadow, floor and grid, body. Colours are linear."""

from __future__ import annotations

from typing import Final

BACKGROUND_VERTEX: Final = """
#version 330
out vec2 uv;
void main() {
    vec2 corner = vec2(gl_VertexID & 1, gl_VertexID >> 1);
    uv = vec2(corner.x, 1.0 - corner.y);
    gl_Position = vec4(corner * 2.0 - 1.0, 0.999999, 1.0);
}
"""
_TO_DISPLAY: Final = """
vec4 display(vec3 linear, float alpha) { return vec4(pow(max(linear, 0.0), vec3(1.0 / 2.2)), alpha); }
"""
BACKGROUND_FRAGMENT: Final = (
    "#version 330\n"
    + _TO_DISPLAY
    + """
uniform sampler2D picture;
in vec2 uv;
out vec4 colour;
void main() {
    // Texel centres at the edges: two rows make a gradient over the full height.
    vec2 size = vec2(textureSize(picture, 0));
    colour = display(texture(picture, (uv * (size - 1.0) + 0.5) / size).rgb, 1.0);
}
"""
)
SHADOW_FRAGMENT: Final = "#version 330\nvoid main() {}\n"
SHADOW_VERTEX: Final = """
#version 330
uniform mat4 to_light;
in vec3 position;
void main() { gl_Position = to_light * vec4(position, 1.0); }
"""
_LIT: Final = (
    "#version 330\n"
    + _TO_DISPLAY
    + """
uniform sampler2DShadow shadow_map;
uniform mat4 to_light;
float lit(vec3 where, float bias) {
    vec4 p = to_light * vec4(where, 1.0);
    vec3 uvz = p.xyz * 0.5 + 0.5;
    if (any(lessThan(uvz.xy, vec2(0.0))) || any(greaterThan(uvz.xy, vec2(1.0)))) return 1.0;
    float sum = 0.0;
    float texel = 1.5 / float(textureSize(shadow_map, 0).x);
    for (int x = -1; x <= 1; x++) for (int y = -1; y <= 1; y++)
        sum += texture(shadow_map, vec3(uvz.xy + texel * vec2(x, y), uvz.z - bias));
    return sum / 9.0;
}
"""
)
"""How the fragments on which the body's shadow can lie begin."""
FLOOR_VERTEX: Final = """
#version 330
uniform mat4 to_clip;
uniform float reach;
uniform float height;
out vec3 where;
void main() {
    where = vec3((gl_VertexID & 1) * 2 - 1, 0.0, (gl_VertexID >> 1) * 2 - 1) * reach + vec3(0.0, height, 0.0);
    gl_Position = to_clip * vec4(where, 1.0);
}
"""
FLOOR_FRAGMENT: Final = (
    _LIT
    + """
uniform vec4 floor_colour;
uniform float grid;
uniform float shadow;
in vec3 where;
out vec4 colour;
float lines(vec2 p, float spacing) {
    vec2 q = p / spacing;
    vec2 width = fwidth(q);
    vec2 near = abs(fract(q - 0.5) - 0.5) / max(width, 1e-6);
    float line = 1.0 - min(min(near.x, near.y), 1.0);
    return line * clamp(1.0 - 2.0 * max(width.x, width.y), 0.0, 1.0);
}
void main() {
    float fade = exp(-0.012 * dot(where.xz, where.xz));
    float dark = shadow * (1.0 - lit(where, 0.002)) * fade;
    float line = grid * fade * max(0.45 * lines(where.xz, 0.25), lines(where.xz, 1.0));
    vec3 base = floor_colour.rgb * (1.0 - dark);
    float cover = floor_colour.a * fade;
    // Without a floor the lines and the shadow lie over the background.
    vec3 over = mix(base, vec3(0.5), line);
    float alpha = max(cover, max(line, dark));
    if (floor_colour.a == 0.0) over = mix(vec3(0.0), vec3(0.5), line / max(line + dark, 1e-5));
    colour = display(over, alpha);
}
"""
)
BODY_VERTEX: Final = """
#version 330
uniform mat4 to_clip;
in vec3 position;
in vec3 normal;
in vec3 skin;
out vec3 where;
out vec3 facing;
out vec3 albedo;
void main() {
    where = position;
    facing = normal;
    albedo = skin;
    gl_Position = to_clip * vec4(position, 1.0);
}
"""
BODY_FRAGMENT: Final = (
    _LIT
    + """
uniform vec3 eye;
uniform vec3 light;
uniform vec3 light_colour;
uniform vec3 sky;
uniform vec3 ground;
uniform float gloss;
in vec3 where;
in vec3 facing;
in vec3 albedo;
out vec4 colour;
void main() {
    vec3 n = normalize(facing);
    vec3 v = normalize(eye - where);
    float facing_light = dot(n, light);
    float open = facing_light > 0.0 ? lit(where + 0.012 * n, 0.004) : 0.0;
    vec3 soft = mix(ground, sky, 0.5 + 0.5 * n.y);
    vec3 diffuse = light_colour * max(facing_light, 0.0) * open;
    float shine = gloss * pow(max(dot(n, normalize(light + v)), 0.0), 32.0) * open;
    float edge = 0.15 * pow(1.0 - max(dot(n, v), 0.0), 3.0);
    colour = display(albedo * (soft + diffuse) + shine * light_colour + edge * sky, 1.0);
}
"""
)
