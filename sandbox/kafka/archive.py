"""A class data sharing archive: Java maps Kafka's classes instead of loading and checking each, which halves the start.

The first broker to stop leaves the list of the classes it used in the cache; a later one has the archive made from it in
the background, at the lowest priority, while it runs. Nothing ever waits for it, and without it all works the same.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import signal
import subprocess
from pathlib import Path

from sandbox.kafka.java import java_command, java_version

# The list must be complete before it is used, and so must the archive: both appear by a rename.
_DUMP = 'target=$1; shift; if nice -n 19 "$@"; then mv -f "$target.new" "$target"; else rm -f "$target.new"; fi'


class StartArchive:
    """For one class path and one Java. `recording` is where this broker's Java lists its classes, if it is asked to."""

    def __init__(self, class_path: list[Path], directory: Path) -> None:
        self._class_path = class_path
        # Java refuses an archive when a jar's time of change differs, as after a cache was restored from a backup.
        stamps = [f"{jar}:{jar.stat().st_mtime_ns}" for jar in class_path]
        key = hashlib.sha256("\n".join([java_version(), *stamps]).encode()).hexdigest()[:12]
        self._archive = class_path[0].parent.parent / f"start-{key}.jsa"
        self._classes = self._archive.with_suffix(".classes")
        self._recording = directory / "classes.list"
        self._dump: subprocess.Popen[bytes] | None = None

    def options(self, *, record: bool = False) -> list[str]:
        """For the java command. With `record`, and nothing recorded before, Java writes the list when it ends."""
        if self._archive.exists():
            return ["-Xshare:auto", f"-XX:SharedArchiveFile={self._archive}", "-Xlog:disable", "-Xlog:all=error:stderr"]
        if record and not self._classes.exists():
            return [f"-XX:DumpLoadedClassList={self._recording}"]
        return []

    def make_in_background(self) -> None:
        """Once the broker serves: starts the making of the archive, if there is a list and no archive yet."""
        if self._dump is not None or self._archive.exists() or not self._classes.exists():
            return
        options = [
            "-Xshare:dump",
            f"-XX:SharedClassListFile={self._classes}",
            f"-XX:SharedArchiveFile={self._archive}.new",
        ]
        command = java_command(self._class_path, "", [], options)
        with contextlib.suppress(OSError):
            self._dump = subprocess.Popen(
                ["/bin/sh", "-c", _DUMP, "listwire-kafka-archive", str(self._archive), *command[:-1]],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )

    def close(self) -> None:
        """Ends the making if it still goes on; the next broker begins it again."""
        if self._dump is None:
            return
        with contextlib.suppress(ProcessLookupError):
            if self._dump.poll() is None:
                os.killpg(self._dump.pid, signal.SIGKILL)
        self._dump.wait()
        self._dump = None

    def keep_recording(self) -> None:
        """After a clean end of Java: puts its list of classes into the cache. A cache that is read-only stays as it is."""
        if self._recording.exists() and not self._classes.exists():
            with contextlib.suppress(OSError):
                new = self._classes.with_suffix(f".new-{os.getpid()}")
                shutil.copyfile(self._recording, new)
                new.rename(self._classes)
        self._recording.unlink(missing_ok=True)
