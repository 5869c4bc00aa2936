# SPDX-License-Identifier: Apache-2.0
"""``posellava benchmark cases|score|run|chat|check|table``: arguments in, exit status out."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from backend.arguments import at_least_two, positive
from backend.exits import exit_status
from training.evaluate.instructions import read_jsonl
from training.writing import require_apart, writing_to

from . import chatting, contamination, results, rows
from .cases import Case, edits, fingerprint, shown

KEY_VARIABLE: Final = "OPENAI_API_KEY"


def benchmark(argv: Sequence[str]) -> int:
    """``posellava benchmark``: what it asks, judging answers, and comparing entries."""
    parser = argparse.ArgumentParser(
        prog="posellava benchmark",
        description="The benchmark for editing poses by language; docs/benchmark.md says how to enter.",
    )
    tasks = parser.add_subparsers(dest="task", required=True)
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument(
        "--poses", type=Path, metavar="FILE.npz", help="the pose file that some cases start from"
    )
    common.add_argument("--cases", type=Path, metavar="FILE.jsonl", help="other cases of the same form")
    common.add_argument("--count", type=at_least_two, help="the first so many cases only")
    entry = argparse.ArgumentParser(add_help=False)
    entry.add_argument("--output", type=Path, required=True, metavar="RESULT.json", help="the entry's file")
    entry.add_argument("--name", required=True, help="what the entry is called")
    entry.add_argument("--about", default="", help="a sentence about it: model, size, date, prompt")
    entry.add_argument("--by", default="", help="who entered it")
    entry.add_argument(
        "--read", nargs="+", type=Path, default=[], metavar="FILE",
        help="texts that it was trained on: cases that stand there are told",
    )  # fmt: skip
    one = tasks.add_parser("cases", parents=[common], help="write what a contestant is asked")
    one.add_argument("output", type=Path, metavar="CASES.jsonl")
    one = tasks.add_parser("score", parents=[common, entry], help="judge answers")
    one.add_argument("answers", type=Path, metavar="ANSWERS.jsonl", help='a line each: {"id", "pose"}')
    one = tasks.add_parser("run", parents=[common, entry], help="ask a PoseLLaVA model and judge it")
    one.add_argument(
        "--model", type=Path, metavar="FOLDER", help="a saved model (default: the one that ships)"
    )
    one.add_argument("--batch-size", type=positive, default=64, metavar="N")
    one = tasks.add_parser(
        "chat", parents=[common, entry], help="ask a chat model for rotations and judge it"
    )
    one.add_argument("--address", required=True, help="base address, such as http://127.0.0.1:8000/v1")
    one.add_argument("--chat-model", required=True, metavar="NAME", help="the model's name there")
    one.add_argument(
        "--key-variable", default=KEY_VARIABLE, metavar="NAME", help="environment variable of the key"
    )
    one.add_argument("--parallel", type=positive, default=4, metavar="N")
    one = tasks.add_parser("check", parents=[common], help="see whether results are whole and judged rightly")
    one.add_argument("results", nargs="+", type=Path, metavar="RESULT.json")
    one = tasks.add_parser("table", help="compare entries")
    one.add_argument("results", nargs="+", type=Path, metavar="RESULT.json")
    arguments = parser.parse_args(argv)
    return exit_status("posellava benchmark", lambda: print(_TASKS[arguments.task](arguments)))


def _cases_of(arguments: argparse.Namespace) -> list[Case]:
    return edits(arguments.poses, arguments.cases)[: arguments.count]


def _source_of(arguments: argparse.Namespace) -> str:
    if arguments.cases is not None:
        return str(arguments.cases.name)
    return "handwritten" if arguments.poses is not None else "handwritten, constructed starts"


def _write_cases(arguments: argparse.Namespace) -> str:
    cases = _cases_of(arguments)
    require_apart(arguments.output, arguments.cases, arguments.poses)
    with writing_to(arguments.output):
        lines = [json.dumps(shown(case), ensure_ascii=False) + "\n" for case in cases]
        arguments.output.write_text("".join(lines), encoding="utf-8")
    return f"{arguments.output}: {len(cases)} cases, {fingerprint(cases)[:12]}"


def _score(arguments: argparse.Namespace) -> str:
    lines = read_jsonl(arguments.answers)
    if not all(isinstance(line, dict) and isinstance(line.get("id"), str | int) for line in lines):
        raise ValueError(
            f'{arguments.answers} holds no answers: a line is {{"id": ..., "pose": 24 x 3 numbers}}'
        )
    cases = _cases_of(arguments)
    known, answers = {case["id"] for case in cases}, {}
    for line in lines:
        if line["id"] not in known:
            raise ValueError(
                f"{arguments.answers} answers {line['id']!r}, which is none of these {len(cases)} cases: give the "
                "options that 'posellava benchmark cases' was given"
            )
        if line["id"] in answers:
            raise ValueError(f"{arguments.answers} answers {line['id']!r} twice: leave one of them")
        answers[line["id"]] = line.get("pose")
    left = len(cases) - len(answers)
    if left:
        print(f"{left} of {len(cases)} cases have no answer: they are not done", file=sys.stderr)
    return _entered(arguments, cases, answers)


def _run(arguments: argparse.Namespace) -> str:
    from backend.engines import load_engine
    from backend.query import Query

    cases, engine = _cases_of(arguments), load_engine(arguments.model)
    found: dict[str, Any] = {}
    for start in range(0, len(cases), arguments.batch_size):
        some = cases[start : start + arguments.batch_size]
        queries = [Query("adjust", case["instruction"], np.array(case["pose"], np.float32)) for case in some]
        for case, answer in zip(some, engine.answer(queries), strict=True):
            # An answer in words leaves the pose as it is.
            found[case["id"]] = case["pose"] if answer.pose_aa is None else answer.pose_aa.tolist()
    return _entered(arguments, cases, found)


def _chat(arguments: argparse.Namespace) -> str:
    from training.data.rewriting.chat import ChatModel

    cases = _cases_of(arguments)
    model = ChatModel(
        arguments.address, arguments.chat_model, os.environ.get(arguments.key_variable), temperature=0.0
    )
    found = chatting.answers(cases, model, parallel=arguments.parallel, report=_progress(len(cases)))
    return _entered(arguments, cases, found)


def _entered(arguments: argparse.Namespace, cases: Sequence[Case], answers: dict[str, Any]) -> str:
    require_apart(arguments.output, arguments.cases, arguments.poses, *arguments.read)
    seen = None
    if arguments.read:
        texts = (text for path in arguments.read for text in contamination.texts_in(path))
        seen = contamination.check(cases, texts, corpora=[path.name for path in arguments.read])
    entry = results.Entry(arguments.name, arguments.about, arguments.by)
    held = results.result(entry, cases, answers, source=_source_of(arguments), contamination=seen)
    with writing_to(arguments.output):
        results.write(held, arguments.output)
    return rows.table([held])


def _check(arguments: argparse.Namespace) -> str:
    cases = _cases_of(arguments)
    for path in arguments.results:
        if not results.judge_again(results.read(path), cases):
            raise ValueError(f"{path}: its answers, judged anew, give other figures")
    return f"{len(arguments.results)} whole, and judged rightly"


def _table(arguments: argparse.Namespace) -> str:
    return rows.table([results.read(path) for path in arguments.results])


def _progress(total: int) -> Any:
    def show(done: int) -> None:
        if sys.stderr.isatty():
            end = "\n" if done == total else ""
            print(f"\r{done} of {total} answered", end=end, file=sys.stderr, flush=True)

    return show


_TASKS: Final = {
    "cases": _write_cases,
    "score": _score,
    "run": _run,
    "chat": _chat,
    "check": _check,
    "table": _table,
}
