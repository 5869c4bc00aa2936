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
}

sys.exit(COMMANDS[sys.argv[1]](sys.argv[2:]))
