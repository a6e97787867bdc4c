"""File systems that cannot sync a directory (old CIFS, some FUSE)."""

import shutil
import subprocess

import pytest
from tests.builders import ENROLLMENT_KEY

# What such a file system answers, for directories only.
LIBRARY = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <sys/stat.h>

int fsync(int descriptor) {
    struct stat found;
    if (fstat(descriptor, &found) == 0 && S_ISDIR(found.st_mode)) {
        errno = NUMBER;
        return -1;
    }
    return ((int (*)(int))dlsym(RTLD_NEXT, "fsync"))(descriptor);
}
"""


@pytest.fixture(params=["EINVAL", "ENOTSUP"])
def preloaded(request, tmp_path):
    """Return the environment that makes programs see such a file system."""
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler on this machine (Debian: apt-get install gcc)")
    (tmp_path / "nosync.c").write_text(LIBRARY.replace("NUMBER", request.param))
    library = tmp_path / "nosync.so"
    subprocess.run(
        [compiler, "-shared", "-fPIC", "-o", library, tmp_path / "nosync.c", "-ldl"],
        check=True,
        capture_output=True,
    )
    return {"LD_PRELOAD": str(library)}


def test_everything_works_on_a_file_system_that_cannot_sync_directories(open_site, preloaded):
    """A Worker enrolls, a backup is made and restored, the Server restarts: nothing fails and there is no warning."""
    site = open_site(LYFTDATA_AUTO_ENROLLMENT_KEY=ENROLLMENT_KEY, **preloaded)
    site.sign_in()
    host = site.worker_host(
        "a", LYFTDATA_WORKER_NAME="a", LYFTDATA_AUTO_ENROLLMENT_KEY=ENROLLMENT_KEY, **preloaded
    )
    agent = host.start("run", "worker")
    agent.wait_for("online")
    assert agent.events("enrollment_blocked") == []

    site.server_host.done("admin", "backup", "monday.db")
    assert site.server.terminate() == 0
    assert site.server.events("used_assertions_not_kept") == []
    site.server_host.done("admin", "restore", "monday.db", "--yes")
    site.start_server()

    agent.wait_for("online", count=2)
