#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Measure the weights that ship: every figure of docs/quality.md, the model card and the leaderboard, each command's
# output in a file of its own. About twelve minutes of one core.
#
# Usage: scripts/figures.sh POSES [FOLDER]        POSES: recorded poses, in any format that is read
#
# Not among them: the three sets of cases that are another author's, and what only a training prints.
set -euo pipefail

poses=$(realpath "${1:?usage: scripts/figures.sh POSES [FOLDER]}")
folder=${2:-out/figures}
mkdir -p "$folder"
folder=$(realpath "$folder")
cd "$(dirname "$0")/.."
model=backend/weights/mini
posellava=.venv/bin/posellava
python=.venv/bin/python
export PYTHONPATH=$PWD OMP_NUM_THREADS=1 TRANSFORMERS_VERBOSITY=error

# say NAME COMMAND…: what the command prints goes to NAME.txt and is shown.
say() {
    local name=$1
    shift
    echo "== $name"
    "$@" 2>"$folder/$name.log" | tee "$folder/$name.txt" || { cat "$folder/$name.log" >&2; exit 1; }
}

# suite NAME ARGUMENT…: one of posellava's suites, of recorded poses.
suite() { local name=$1; shift; say "$name" "$posellava" eval --poses "$poses" --json "$folder/$name.json" "$@"; }

"$python" -m training.evaluate.cases.build "$folder/cases.jsonl" --poses "$poses"
"$posellava" batch "$folder/cases.jsonl" "$folder/results.jsonl"
say handwritten "$python" -m training.evaluate.instructions "$folder/cases.jsonl" "$folder/results.jsonl"
say held_out "$python" -m training.evaluate.held_out --poses "$poses" --count 1500
say held_out_trained "$python" -m training.evaluate.held_out --poses "$poses" --count 1500 --trained
for name in posepart posefix generation; do
    suite "$name" --suite "$name" --count 300
done
suite robustness --suite robustness
suite estimation --suite estimation --count 1000
"$python" scripts/viewport_samples.py --poses "$poses" --output "$folder/viewport"
suite viewport --suite estimation --samples "$folder/viewport/samples.json" --sheet "$folder/estimation.png"
suite pictures --suite pictures --count 20
suite pictures_60 --suite pictures --count 60 --seed 1
suite rpe --suite rpe --count 80 --seed 7
say view "$posellava" eval --suite view --count 341
say speech "$posellava" measure-speech "$model" --poses "$poses" --count 300 --sheet "$folder/voice.png"
say speech_constructed "$posellava" measure-speech "$model" --count 300
say benchmark "$posellava" benchmark run --name mini --output "$folder/benchmark.json"
say engines "$python" -m benchmarks engines
say megabytes du --bytes --total "$model"/*.safetensors
