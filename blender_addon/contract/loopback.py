# SPDX-License-Identifier: GPL-3.0-or-later
"""Which hosts are this machine itself: the add-on may reach them offline, the backend may serve them without token."""

from __future__ import annotations

import ipaddress


def is_loopback(host: str) -> bool:
    """Whether ``host``, a name or an address, can only be reached from this machine."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
