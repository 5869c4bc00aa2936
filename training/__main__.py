# SPDX-License-Identifier: Apache-2.0
"""``python -m training COMMAND``: the same as ``posellava COMMAND``, for launchers that start modules."""

import sys

from . import commands

COMMANDS = {
    "data": commands.data,
    "train": commands.train,
    "export": commands.export,
    "convert": commands.convert,
    "eval": commands.evaluate,
    "train-retrieval": commands.train_retrieval,
    "reproduce": commands.reproduce,
}

# DeepSpeed's launcher puts the process's number before the command; the environment tells it as well.
arguments = [argument for argument in sys.argv[1:] if not argument.startswith("--local_rank=")]
if not arguments or arguments[0] not in COMMANDS:
    sys.exit(f"python -m training: give a command, one of {', '.join(COMMANDS)}")
sys.exit(COMMANDS[arguments[0]](arguments[1:]))
