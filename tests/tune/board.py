"""An sshd on loopback that stands for a board: nothing of it is left when the test is over."""

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from getpass import getuser
from pathlib import Path

SSHD = shutil.which("sshd", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
# Its programs are arm64 ones.
QEMU = "qemu-aarch64 -L /usr/aarch64-linux-gnu"
_CONFIGURATION = """\
Port {port}
ListenAddress 127.0.0.1
HostKey {folder}/host
AuthorizedKeysFile {folder}/user.pub
PidFile none
UsePAM no
StrictModes no
PasswordAuthentication no
SetEnv TMPDIR={folder}/tmp
"""
_CLIENT = """\
#!/bin/sh
exec {ssh} -F none -i {folder}/user -o UserKnownHostsFile={folder}/known -o StrictHostKeyChecking=no "$@"
"""


@contextmanager
def board(folder: Path) -> Iterator[str]:
    """Its URL. `folder` has its keys, and an `ssh` that knows them in `folder`/bin, which has to come first in PATH."""
    assert SSHD is not None
    for name in ("host", "user"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / name], check=True)
    ssh = folder / "bin" / "ssh"
    ssh.parent.mkdir()
    (folder / "tmp").mkdir()
    ssh.write_text(_CLIENT.format(ssh=shutil.which("ssh"), folder=folder))
    ssh.chmod(0o755)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    (folder / "sshd_config").write_text(_CONFIGURATION.format(port=port, folder=folder))
    if os.geteuid() == 0:
        # Where sshd puts what it does not trust; the system's own service makes it at its start.
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
    process = subprocess.Popen(
        [SSHD, "-D", "-e", "-f", folder / "sshd_config"],
        stdin=subprocess.DEVNULL,
        stderr=(folder / "log").open("w"),
    )
    try:
        _await(process, port, folder / "log")
        yield f"ssh://{getuser()}@127.0.0.1:{port}"
    finally:
        process.kill()
        process.wait()


def _await(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        assert process.poll() is None, log.read_text()
        with socket.socket() as asked:
            if asked.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise AssertionError("sshd does not listen")
