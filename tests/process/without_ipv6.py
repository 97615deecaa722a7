"""Runs a command without IPv6, as on a machine that was booted with ipv6.disable=1.

A seccomp filter makes socket(AF_INET6, ...) fail with EAFNOSUPPORT: see seccomp(2). It works only on x86-64.
"""

import ctypes
import errno
import os
import struct
import sys

PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP, SECCOMP_MODE_FILTER = 38, 22, 2
LOAD, EQUAL, RETURN = 0x20, 0x15, 0x06
ALLOW, FAIL = 0x7FFF0000, 0x00050000
SOCKET, AF_INET6 = 41, 10
NUMBER_OFFSET, FIRST_ARGUMENT_OFFSET = 0, 16

PROGRAM = [
    (LOAD, 0, 0, NUMBER_OFFSET),
    (EQUAL, 0, 3, SOCKET),
    (LOAD, 0, 0, FIRST_ARGUMENT_OFFSET),
    (EQUAL, 0, 1, AF_INET6),
    (RETURN, 0, 0, FAIL | errno.EAFNOSUPPORT),
    (RETURN, 0, 0, ALLOW),
]


def main() -> None:
    instructions = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *instruction) for instruction in PROGRAM))
    program = ctypes.create_string_buffer(struct.pack("HxxxxxxP", len(PROGRAM), ctypes.addressof(instructions)))
    libc = ctypes.CDLL(None, use_errno=True)
    for call in (
        (PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0),
        (PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.addressof(program), 0, 0),
    ):
        if libc.prctl(*(ctypes.c_ulong(argument) for argument in call)) != 0:
            raise OSError(ctypes.get_errno(), "prctl")
    os.execv(sys.argv[1], sys.argv[1:])


if __name__ == "__main__":
    main()
