# SPDX-License-Identifier: GPL-3.0-or-later
"""Lists of frames as scripts and the command line write them. Plain Python."""

from typing import Final

from ..rig.bone_map import RigError

LAST_FRAME: Final = 1048574
"""Blender's own limit of a scene's frames."""


class FrameListError(RigError):
    """A list of frames that cannot be read."""


def parse_frames(text: str) -> tuple[float, ...]:
    """Frames from ``12``, ``1,5,9`` or ``1:48`` (both ends included), or a mixture.

    Raises:
        FrameListError: it is none of these.
    """
    frames: set[float] = set()
    for item in text.split(","):
        first, colon, last = item.partition(":")
        try:
            start = int(first)
            end = int(last) if colon else start
        except ValueError:
            raise FrameListError(
                f"{text!r} is no list of frames; write one such as 12, 1:48 or 1,5,9."
            ) from None
        if end < start:
            raise FrameListError(f"The range {item.strip()} ends before it starts; swap its ends.")
        if max(-start, end) > LAST_FRAME:
            raise FrameListError(
                f"{item.strip()} goes beyond frame {LAST_FRAME}, Blender's last; write less."
            )
        frames.update(range(start, end + 1))
    return tuple(sorted(frames))
