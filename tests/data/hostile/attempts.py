"""Escapes that a lost child tries, as code, and what each must meet.

An attempt that finds what it is after leaves it in `result`; the wall is what it raises instead.
`ROOM` is a folder of the caller's with a secret in it, `PARENT` the caller's process, `NEIGHBOUR`
another one that has a secret in its environment.
"""

from __future__ import annotations

from dataclasses import dataclass

REFUSED = ("PermissionError",)
ABSENT = ("FileNotFoundError", "ProcessLookupError")
SHUT = ("PermissionError", "FileNotFoundError", "ProcessLookupError")
READ_ONLY = ("OSError", "PermissionError", "FileNotFoundError")


@dataclass(frozen=True)
class Attempt:
    """`meets`: names of the exceptions that count as a wall. `harmless`: run it outside, too.

    Outside, where nothing confines it, a harmless attempt has to succeed: an attempt that cannot
    succeed anywhere tests nothing. `plain`: the wall stands without bubblewrap as well.
    """

    name: str
    code: str
    meets: tuple[str, ...]
    harmless: bool = True
    plain: bool = True


_CONNECT = """
import socket
with socket.socket(socket.{family}, socket.{kind}) as link:
    link.settimeout(2)
    link.connect({address})
    link.send(b"out")
result = "sent"
"""


def _connect(family: str, address: str, kind: str = "SOCK_STREAM") -> str:
    return _CONNECT.format(family=family, kind=kind, address=address)


def _read(path: str) -> str:
    return f"result = open({path}, errors='replace').read(4096) or 'nothing'"


def _write(path: str) -> str:
    return f"result = open({path}, 'a').write('')"


NETWORK = (
    Attempt("connect over IPv4", _connect("AF_INET", "('127.0.0.1', PORT)"), REFUSED),
    Attempt("connect over IPv6", _connect("AF_INET6", "('::1', PORT6)"), REFUSED),
    Attempt("send a datagram", _connect("AF_INET", "('127.0.0.1', PORT)", "SOCK_DGRAM"), REFUSED),
    Attempt(
        "ask a name server",
        "import socket\nresult = socket.getaddrinfo('huggingface.co', 443)",
        ("gaierror",),
        harmless=False,
    ),
    Attempt("connect to a unix socket", _connect("AF_UNIX", "ROOM + '/listening'"), REFUSED),
    Attempt("connect to an abstract socket", _connect("AF_UNIX", "ABSTRACT"), REFUSED),
    Attempt(
        "listen on a port",
        "import socket\nresult = socket.create_server(('127.0.0.1', 0)).close() or 'listened'",
        REFUSED,
    ),
    Attempt(
        "talk to the kernel's routing",
        "import socket\nresult = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0).close() or 1",
        REFUSED,
    ),
    Attempt(
        "open a raw packet socket",
        "import socket\nresult = socket.socket(socket.AF_PACKET, socket.SOCK_RAW).close() or 1",
        REFUSED,
        harmless=False,
    ),
    Attempt(
        "reach the socket call by the x32 numbers",
        "result = system_call(0x40000000 + NUMBERS['socket'], 2, 1, 0)",
        ("OSError",),
        harmless=False,
    ),
    Attempt("fetch a page", "import urllib.request\nresult = urllib.request.urlopen(URL).read()",
            ("URLError",)),
)  # fmt: skip

SECRETS = (
    Attempt("read the environment", "import os\nresult = os.environ['HF_TOKEN']", ("KeyError",)),
    Attempt(
        "read the environment as the kernel keeps it",
        "result = [e for e in open('/proc/self/environ').read().split('\\0') if CANARY in e][0]",
        ("IndexError",),
    ),
    Attempt(
        "read a neighbour's environment",
        "environment = open(f'/proc/{NEIGHBOUR}/environ').read()\n"
        "result = [entry for entry in environment.split('\\0') if CANARY in entry][0]",
        SHUT,
    ),
    Attempt(
        "read the environment of the first process",
        "import glob\n"
        "result = [p for p in glob.glob('/proc/[0-9]*/environ') if CANARY in open(p).read()][0]",
        (*REFUSED, "IndexError"),
        harmless=False,
    ),
    Attempt("read the parent's memory", _read("f'/proc/{PARENT}/mem'"), SHUT, harmless=False),
    Attempt("read the parent's command line", _read("f'/proc/{PARENT}/cmdline'"), SHUT),
    Attempt("read a file of the caller's", _read("ROOM + '/secret'"), SHUT),
    Attempt("read the Hub token", _read("HOME + '/.cache/huggingface/token'"), SHUT),
    Attempt("list the caller's home", "import os\nresult = os.listdir(HOME)", SHUT),
    Attempt("read the password hashes", _read("'/etc/shadow'"), SHUT, harmless=False),
    Attempt("read the users", _read("'/etc/passwd'"), SHUT),
    Attempt(
        "read a file descriptor that was left open",
        "import os\nfound = []\n"
        "for number in range(3, 256):\n"
        "    try:\n        found.append(os.pread(number, 100, 0))\n"
        "    except OSError:\n        pass\n"
        "result = [text for text in found if CANARY.encode() in text][0].decode()",
        ("IndexError",),
        harmless=False,
    ),
    Attempt("read the kernel's log", _read("'/dev/kmsg'"), SHUT, harmless=False),
    Attempt(
        "look up a key of the session",
        "result = system_call(NUMBERS['keyctl'], 0, -3, 1)",
        REFUSED,
        harmless=False,
    ),
)

FILES = (
    Attempt("climb out of a given folder", _read("GIVEN + '/../secret'"), SHUT),
    Attempt("follow a link out of a given folder", _read("GIVEN + '/link-to-secret'"), SHUT),
    Attempt(
        "make a link and follow it",
        "import os\npath = os.environ['HOME'] + '/link'\n"
        "os.path.lexists(path) or os.symlink(ROOM + '/secret', path)\nresult = open(path).read()",
        SHUT,
        harmless=False,
    ),
    Attempt(
        "make a hard link to a file outside",
        "import os\nresult = os.link(ROOM + '/secret', os.environ['HOME'] + '/hard') or 'linked'",
        (*SHUT, "OSError"),
        harmless=False,
    ),
    Attempt("go through the root of a process", _read("f'/proc/self/root{ROOM}/secret'"), SHUT),
    Attempt("go through the root of the first process", _read("f'/proc/1/root{ROOM}/secret'"),
            SHUT, harmless=False),
    Attempt("go through the parent's folder", _read("f'/proc/{PARENT}/cwd/pyproject.toml'"), SHUT,
            harmless=False),
    Attempt("write into a given folder", _write("GIVEN + '/new'"), READ_ONLY),
    Attempt("change a given file", _write("GIVEN + '/given'"), READ_ONLY),
    Attempt("write into our packages", _write("PACKAGE + '/planted.py'"), READ_ONLY,
            harmless=False),
    Attempt("plant compiled code",
            "import os\nos.makedirs(PACKAGE + '/__pycache__', exist_ok=True)\n"
            + _write("PACKAGE + '/__pycache__/planted.pyc'"), READ_ONLY, harmless=False),
    Attempt("write into the interpreter", _write("LIBRARY + '/planted.py'"), READ_ONLY,
            harmless=False),
    Attempt("write into the root", _write("'/planted'"), READ_ONLY, harmless=False),
    Attempt("write into /usr", _write("'/usr/planted'"), READ_ONLY, harmless=False),
    Attempt("write into /etc", _write("'/etc/planted'"), READ_ONLY, harmless=False),
    Attempt("write into the machine's /var", _write("'/var/tmp/planted'"), READ_ONLY,
            harmless=False),
    Attempt("remove a given file", "import os\nresult = os.remove(GIVEN + '/given') or 1",
            READ_ONLY, harmless=False),
    Attempt("set the program for core dumps", _write("'/proc/sys/kernel/core_pattern'"),
            READ_ONLY, harmless=False),
    Attempt("pull the kernel's trigger", _write("'/proc/sysrq-trigger'"), READ_ONLY,
            harmless=False),
    Attempt("open the machine's disk",
            "import glob\nresult = open(glob.glob('/dev/[svn][dv][am]*')[0], 'rb').read(1)",
            (*SHUT, "IndexError"), harmless=False),
    Attempt("open the machine's memory", _read("'/dev/mem'"), SHUT, harmless=False),
    Attempt("open a virtual machine", _read("'/dev/kvm'"), SHUT, harmless=False),
    Attempt("open the terminal", "result = open('/dev/tty', 'wb').fileno()", ("OSError", *SHUT),
            harmless=False),
)  # fmt: skip

PROCESSES = (
    Attempt("fork", "import os\nresult = os.fork() or os._exit(0)", REFUSED),
    Attempt("run a shell", "import subprocess\nresult = subprocess.check_output('id').decode()",
            SHUT),
    Attempt("spawn a program",
            "import os\nresult = os.posix_spawn('/bin/true', ['true'], {})", SHUT),
    Attempt("become another program", "import os\nos.execv('/bin/true', ['true'])", SHUT,
            harmless=False),
    Attempt("ask whether a neighbour lives",
            "import os\nresult = os.kill(NEIGHBOUR, 0) or 'lives'", SHUT),
    Attempt("kill the parent process", "import os\nresult = os.kill(os.getppid(), 9) or 'killed'",
            REFUSED, harmless=False),
    Attempt("kill everything", "import os\nresult = os.kill(-1, 9) or 'killed'", REFUSED,
            harmless=False),
    Attempt("kill the process group", "import os\nresult = os.kill(0, 9) or 'killed'", REFUSED,
            harmless=False),
    Attempt("hold the parent by a descriptor", "import os\nresult = os.pidfd_open(PARENT)", SHUT),
    Attempt("trace the parent", "result = system_call(NUMBERS['ptrace'], 16, PARENT, 0, 0)", SHUT,
            harmless=False),
    Attempt("read another process's memory by call",
            "result = system_call(NUMBERS['process_vm_readv'], NEIGHBOUR, 0, 0, 0, 0, 0)", SHUT),
    Attempt("lower the parent's priority", "import os\nresult = os.setpriority(0, PARENT, 5) or 1",
            SHUT, harmless=False),
    Attempt("raise its own limits",
            "import resource as r\nresult = r.setrlimit(r.RLIMIT_FSIZE, (1 << 40, 1 << 40)) or 1",
            ("ValueError", "PermissionError"), harmless=False),
)  # fmt: skip

PRIVILEGES = (
    Attempt("mount a file system",
            "result = system_call(NUMBERS['mount'], b'none', b'/tmp', b'tmpfs', 0, 0)", REFUSED,
            harmless=False),
    Attempt("make a namespace of its own", "result = system_call(NUMBERS['unshare'], 0x10000000)",
            REFUSED, harmless=False),
    Attempt("enter the namespace of the first process",
            "import os\nhandle = os.open('/proc/self/ns/mnt', os.O_RDONLY)\n"
            "result = system_call(NUMBERS['setns'], handle, 0)", SHUT, harmless=False),
    Attempt("make a new root", "import os\nresult = os.chroot(os.environ['HOME']) or 1", REFUSED,
            harmless=False),
    Attempt("make a device",
            "import os, stat\n"
            "os.mknod(os.environ['HOME'] + '/disk', stat.S_IFBLK | 0o600, os.makedev(254, 0))",
            REFUSED, harmless=False),
    Attempt("take another user's name", "import os\nos.setresuid(1000, 1000, 1000)",
            (*REFUSED, "OSError"), harmless=False),
    Attempt("take capabilities back",
            "import ctypes, struct\n"
            "header = struct.pack('=Ii', 0x20080522, 0)\n"
            "if libc.capset(header, b'\\xff' * 24): raise PermissionError\nresult = 'taken'",
            REFUSED, harmless=False),
    Attempt("load code into the kernel", "result = system_call(NUMBERS['bpf'], 5, 0, 0)", REFUSED,
            harmless=False),
    Attempt("drop the system call filter",
            "if libc.prctl(22, 0, 0, 0, 0): raise PermissionError\nresult = 'dropped'", REFUSED,
            harmless=False),
    Attempt("allow itself new privileges",
            "if libc.prctl(38, 0, 0, 0, 0): raise PermissionError\nresult = 'allowed'", REFUSED,
            harmless=False),
    Attempt("set the clock", "import time\nresult = time.clock_settime(0, 0) or 1", REFUSED,
            harmless=False),
    Attempt("rename the machine", "import socket\nresult = socket.sethostname('taken') or 1",
            REFUSED, harmless=False),
    Attempt("use the kernel's own queue for calls",
            "result = system_call(NUMBERS['io_uring_setup'], 1, bytes(120))", ("OSError",),
            harmless=False),
)  # fmt: skip

ATTEMPTS = (*NETWORK, *SECRETS, *FILES, *PROCESSES, *PRIVILEGES)
