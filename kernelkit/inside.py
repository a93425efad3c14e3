"""The first process inside a clean room's namespaces: loopback up, all read-only but the named folders, then exec.

python inside.py WRITABLE_FOLDER ... -- COMMAND ...
"""

import fcntl
import os
import socket
import struct
import subprocess
import sys

_SIOCGIFFLAGS, _SIOCSIFFLAGS, _IFF_UP = 0x8913, 0x8914, 1  # linux/sockios.h, linux/if.h
_KEPT = {"nosuid", "nodev", "noexec", "noatime", "nodiratime", "relatime"}  # a user namespace may not drop these


def loopback_up() -> None:
    """Switch the namespace's only interface on: Jupyter talks to its kernel over it."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as handle:
        request = struct.pack("16sh", b"lo", 0)
        flags = struct.unpack("16sh", fcntl.ioctl(handle, _SIOCGIFFLAGS, request + bytes(22))[:18])[1]
        fcntl.ioctl(handle, _SIOCSIFFLAGS, struct.pack("16sh", b"lo", flags | _IFF_UP) + bytes(22))


def read_only_but(writable: list[str]) -> None:
    """Bind the writable folders onto themselves, and remount every other file system of this namespace read-only."""
    with open("/proc/self/mounts") as stream:
        mounts = [line.split()[1:4:2] for line in stream]
    for folder in writable:
        subprocess.run(["mount", "--bind", folder, folder], check=True)
    for place, options in mounts:
        place = place.encode().decode("unicode_escape")  # the kernel writes a blank as \040
        if place.split("/")[1] in ("proc", "sys", "dev"):
            continue
        kept = sorted(_KEPT & set(options.split(",")))
        subprocess.run(["mount", "-o", ",".join(["remount", "bind", "ro", *kept]), place], check=True)


def main(arguments: list[str]) -> None:
    """Prepare the namespace and become the command."""
    split = arguments.index("--")
    loopback_up()
    read_only_but(arguments[:split])
    os.execvp(arguments[split + 1], arguments[split + 1 :])


if __name__ == "__main__":
    main(sys.argv[1:])
