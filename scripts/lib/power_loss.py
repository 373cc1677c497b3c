"""Cuts the power of a disk at many points, and looks at what is left. Beside ../power-loss-test, which starts it.

Every write and every flush that a file system sends to its disk is recorded, in order, while a series of promotions is
made on it. A crash is then put together from the record: all that was written up to the last flush before the crash is
there, and of what was written after it some, because a disk may keep it in its cache and write it in any order. The
result is mounted and checked.

A promotion is acknowledged when its program has ended with zero. What was acknowledged before a crash has to be there
after it: to the last promotion, also when the power fails the moment after.

It has to run as root in a mount namespace of its own, which takes all mounts and all files with it when it ends.
"""

import argparse
import contextlib
import dataclasses
import hashlib
import json
import os
import pathlib
import random
import shutil
import signal
import sqlite3
import struct
import subprocess
import sys
import tempfile
import time

PROMOTIONS = 16
# The size of the disk and of the file that the record may grow to. Both are sparse, in memory.
DISK_BYTES = 512 << 20
LOG_BYTES = 1 << 30
MEMORY = "4g"
# Unless another is given: half of the points are drawn with it, and half with one that is new each time.
SEED = 20240229
# How many crashes there are for one whose disk is then used again.
RECOVER_EVERY = 10
BRANCH = "factory/series"
# No command here takes a second, on a quiet machine.
PATIENCE = 120

# git as itself: no setting, hook or signature of the operator takes part.
GIT = ["git", "-c", "user.name=factory", "-c", "user.email=factory@localhost", "-c", "init.defaultBranch=main"]
GIT_ENVIRONMENT = {"GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_NOSYSTEM": "1"}


class Broken(Exception):
    """The test itself cannot go on."""


def run(*argv, check=True, **options):
    """Runs a command to its end, and gives what it printed."""
    argv = [str(word) for word in argv]
    ran = subprocess.run(argv, capture_output=True, text=True, timeout=PATIENCE, stdin=subprocess.DEVNULL, **options)
    if check and ran.returncode != 0:
        raise Broken(f"{' '.join(argv)} ended with {ran.returncode}: {ran.stderr.strip() or ran.stdout.strip()}")
    return ran


def git(repository, *argv, check=True, environment=None):
    environment = {**os.environ, **GIT_ENVIRONMENT, **(environment or {})}
    return run(*GIT, "-C", repository, *argv, check=check, env=environment)


# --- The disk -------------------------------------------------------------------------------------------------------


# Source: drivers/md/dm-log-writes.c of Linux, whose format QEMU's driver blklogwrites writes too. All numbers are
# little-endian. The super block says how many entries there are, and is written anew after each flush.
SUPER_BLOCK = struct.Struct("<QQQI")
ENTRY = struct.Struct("<QQQQ")
MAGIC = 0x6A736677736872
FLUSH, DISCARD = 1, 4
# A write of several of these may be torn between two of them by the loss of power, never within one.
BLOCK = 4096


@dataclasses.dataclass
class Entry:
    offset: int
    length: int
    flags: int
    # Where its bytes are in the record.
    data: int


class Log:
    """The record of a disk."""

    def __init__(self, path):
        self.file = open(path, "rb")
        self.entries = []
        _, _, count, sector = self.super_block(path)
        position = sector
        for _ in range(count):
            self.file.seek(position)
            first, sectors, flags, _ = ENTRY.unpack(self.file.read(ENTRY.size))
            entry = Entry(first * sector, sectors * sector, flags, position + sector)
            self.entries.append(entry)
            position = entry.data + (0 if flags & DISCARD else entry.length)

    @staticmethod
    def super_block(path):
        with open(path, "rb") as file:
            fields = SUPER_BLOCK.unpack(file.read(SUPER_BLOCK.size))
        if fields[0] != MAGIC:
            raise Broken(f"{path} is no record of writes")
        return fields

    def bytes_of(self, entry):
        if entry.flags & DISCARD:
            # What a discarded block reads as is anybody's guess. Nothing is the harshest.
            return bytes(entry.length)
        self.file.seek(entry.data)
        return self.file.read(entry.length)

    def last_flush(self, end):
        """The number of entries up to and with the last flush among the first `end`."""
        return next((i + 1 for i in range(end - 1, -1, -1) if self.entries[i].flags & FLUSH), 0)


class Disk:
    """A file system whose writes are recorded."""

    def __init__(self, work, kind):
        self.work, self.kind = work, kind
        self.base, self.image, self.log, self.device = (work / name for name in ("base", "image", "log", "device"))
        self.mounted = work / "disk"

    @contextlib.contextmanager
    def recording(self):
        """The mounted file system, for as long as its writes are recorded."""
        self.work.mkdir()
        self.mounted.mkdir()
        with open(self.base, "wb") as file:
            file.truncate(DISK_BYTES)
        run(f"mkfs.{self.kind}", "-q", self.base)
        copy_sparse(self.base, self.image)
        with open(self.log, "wb") as file:
            file.truncate(LOG_BYTES)
        self.device.touch()
        with self.daemon():
            with mounted(self.device, self.mounted):
                yield self.mounted

    @contextlib.contextmanager
    def daemon(self):
        daemon = subprocess.Popen(
            # It must not outlive us, however we end.
            ["setpriv", "--pdeathsig", "KILL", "qemu-storage-daemon"]
            + ["--blockdev", f"driver=file,node-name=image,filename={self.image}"]
            + ["--blockdev", f"driver=file,node-name=record,filename={self.log}"]
            + ["--blockdev", "driver=blklogwrites,node-name=disk,file=image,log=record,log-sector-size=512"]
            + ["--export", f"type=fuse,id=disk,node-name=disk,mountpoint={self.device},writable=on,growable=off"],
            stdin=subprocess.DEVNULL,
        )
        try:
            deadline = time.monotonic() + PATIENCE
            while self.device.stat().st_size != DISK_BYTES:
                if daemon.poll() is not None or time.monotonic() > deadline:
                    raise Broken(f"qemu-storage-daemon does not export the disk (exit code {daemon.poll()})")
                time.sleep(0.01)
            yield
        finally:
            daemon.terminate()
            daemon.wait(PATIENCE)

    def written(self):
        """How many entries were recorded, up to the last flush. What comes after it, the disk has promised nobody."""
        return Log.super_block(self.log)[2]


@contextlib.contextmanager
def mounted(image, directory):
    # The loop device goes away with the mount.
    run("mount", "-o", "loop", image, directory)
    try:
        yield directory
    finally:
        if run("umount", directory, check=False).returncode != 0:
            run("umount", "--lazy", directory, check=False)


def copy_sparse(source, target):
    run("cp", "--sparse=always", source, target)


# --- What is written to it ------------------------------------------------------------------------------------------


@dataclasses.dataclass
class Promotion:
    """One that was acknowledged."""

    commit: str
    # How many entries of the record the disk had promised to keep by then.
    entries: int = 0
    # What the program says about its run; git says nothing.
    summary: dict = None


def note(number):
    return f"note-{number:02}.txt", f"this is note {number}\n"


def index(number):
    """The file that each promotion replaces, as it is after that many of them."""
    return "index.txt", "".join(f"note {n}\n" for n in range(number + 1))


def make_repository(disk):
    """A repository with one commit, and all of it on the disk: what an operator starts with is not in question."""
    repository = disk / "repository"
    repository.mkdir()
    git(repository, "init", "--quiet")
    name, text = index(0)
    (repository / name).write_text(text)
    # The project's own verification, without which a project is asked to compile and to test itself.
    verify = repository / "scripts/verify.sh"
    verify.parent.mkdir()
    verify.write_text("#!/bin/sh\ntest -f index.txt\n")
    verify.chmod(0o755)
    git(repository, "add", "--all")
    git(repository, "commit", "--quiet", "--message", "seed")
    run("sync", "--file-system", repository)


def note_promotion(disk, number):
    """Writes down that there was a promotion, and syncs that: what a careful program does after careless ones."""
    with open(disk / "promoted", "a") as record:
        print(number, file=record, flush=True)
        os.fsync(record.fileno())


def entries_of(database):
    """The entries of a journal: run, kind and body. Not by the program, which is what is looked at."""
    if not database.exists():
        return []
    with contextlib.closing(sqlite3.connect(database)) as connection:
        rows = connection.execute("SELECT run, kind, body FROM entry ORDER BY seq").fetchall()
    return [(run_id, kind, json.loads(body)) for run_id, kind, body in rows]


class Git:
    """Promotes with git's own commands."""

    def __init__(self, work, settings=(), sync=False):
        self.work, self.settings, self.sync = work, settings, sync
        work.mkdir()

    def promote(self, disk, number, tip):
        repository = disk / "repository"
        environment = {"GIT_INDEX_FILE": str(self.work / "index")}

        def command(*argv):
            return git(repository, *self.settings, *argv, environment=environment).stdout.strip()

        parent = tip or command("rev-parse", "HEAD")
        command("read-tree", parent)
        for name, text in (note(number), index(number)):
            (self.work / name).write_text(text)
            blob = command("hash-object", "-w", self.work / name)
            command("update-index", "--add", "--cacheinfo", f"100644,{blob},{name}")
        commit = command("commit-tree", "-p", parent, "-m", f"note {number}", command("write-tree"))
        command("update-ref", f"refs/heads/{BRANCH}", commit, tip or "")
        if self.sync:
            # Git syncs a file before it gives it its name, and leaves the name to others.
            run("sync", "--file-system", repository)
        note_promotion(disk, number)
        return Promotion(commit)

    def problems(self, _disk, _series, _acknowledged):
        return []


class Factory:
    """Promotes with `factory run`, and knows what it has to find again."""

    # The entries of the journal that name blobs, and in which fields.
    BLOBS = {
        "proposal.answer": ("answer", "text"),
        "verify.finished": ("evidence",),
        "verify.recalled": ("evidence",),
    }

    def __init__(self, work, binary, preload=None):
        self.work, self.binary, self.preload = work, binary, preload
        work.mkdir()
        (work / "home").mkdir()
        for number in range(1, PROMOTIONS + 2):
            self.write_order(number)

    def write_order(self, number):
        files = [note(number), index(number)]
        before = {files[0][0]: "", files[1][0]: index(number - 1)[1]}
        order = {
            "id": f"WO-{number:02}",
            "title": f"Add note {number}",
            "intent": "Add a note, and name it in the index.",
            "preconditions": [{"kind": "file_exists", "path": files[1][0]}],
            "postconditions": [{"kind": "file_exists", "path": name} for name, _ in files],
            "allowed_files": [name for name, _ in files],
            "forbidden": [],
            "acceptance_commands": [f"grep -q 'note {number}' {name}" for name, _ in files],
            "context_files": [],
            "notes": "",
        }
        writes = [
            {"path": name, "base_sha256": hashlib.sha256(before[name].encode()).hexdigest(), "content": text}
            for name, text in files
        ]
        (self.work / f"{number}.json").write_text(json.dumps(order))
        answers = self.work / "answers" / order["id"]
        answers.mkdir(parents=True)
        (answers / "1.json").write_text(json.dumps({"summary": order["title"], "writes": writes}))

    def factory(self, *argv, check=True, cache=None):
        environment = {name: value for name, value in os.environ.items() if not name.startswith(("FACTORY_", "XDG_"))}
        environment |= {"HOME": str(self.work / "home"), "XDG_CACHE_HOME": str(cache or self.work / "cache")}
        if self.preload:
            environment["LD_PRELOAD"] = str(self.preload)
        return run(self.binary, *argv, check=check, env=environment)

    def promote(self, disk, number, tip):
        # None of the directories is there when the series begins.
        ran = self.factory(
            *["run", "--isolated", "--json", "--repo", disk / "repository", "--branch", BRANCH],
            *["--provider", f"replay:{self.work / 'answers'}", "--max-attempts", "1"],
            *["--state-dir", disk / "state/factory", "--artifacts", disk / "artifacts/all"],
            self.work / f"{number}.json",
            cache=disk / "cache",
            check=False,
        )
        completed = json.loads(ran.stdout.splitlines()[-1]) if ran.stdout else {}
        if ran.returncode != 0:
            problem = completed.get("problem") or {"message": ran.stderr.strip()}
            raise Broken(f"order {number} ended with {ran.returncode}: {problem['message']}")
        if self.preload:
            note_promotion(disk, number)
        # There is none when the order was found to be done: recovery finished what the crash had cut off.
        summary = completed["summary"]
        return Promotion(summary and summary["commit"], summary=summary)

    def problems(self, disk, series, acknowledged):
        """What is wrong beside the repository. The journal is copied first: looking at it must not change the disk."""
        found = self.artifact_problems(disk / "artifacts/all", acknowledged)
        with tempfile.TemporaryDirectory(dir=self.work) as scratch:
            state = pathlib.Path(scratch) / "state"
            if (disk / "state/factory").exists():
                shutil.copytree(disk / "state/factory", state)
            found += self.journal_problems(state, acknowledged)
            try:
                entries = entries_of(state / "journal.db")
            except sqlite3.Error as error:
                entries = []
                found.append(("corrupt", f"the journal: {error}"))
            found += self.blob_problems(state, entries, acknowledged)
        return found + self.order_problems(disk, series, entries)

    def journal_problems(self, state, acknowledged):
        checked = self.factory("journal", "check", "--state-dir", state, check=False)
        if checked.returncode != 0:
            return [("corrupt", f"the journal: {checked.stderr.strip()}")]
        status = self.factory("status", "--json", "--state-dir", state, check=False)
        if status.returncode != 0:
            return [("corrupt", f"the journal: {status.stderr.strip()}")]
        runs = {one["run"]: one["summary"] for one in json.loads(status.stdout)["runs"]}
        return [
            ("lost", f"the journal knows no end of run {promotion.summary['run']}")
            for promotion in acknowledged
            if runs.get(promotion.summary["run"]) != promotion.summary
        ]

    def blob_problems(self, state, entries, acknowledged):
        blobs = {}
        for path in state.glob("blobs/??/[!.]*"):
            blobs[path.parent.name + path.name] = hashlib.sha256(path.read_bytes()).hexdigest()
        found = [("corrupt", f"blob {name} has other bytes") for name, digest in blobs.items() if name != digest]
        named = [(run_id, body[field]) for run_id, kind, body in entries for field in self.BLOBS.get(kind, ())]
        found += [("lost", f"blob {name}") for _, name in named if name not in blobs]
        # Each run has its evidence at least: without this, a journal that names nothing would be fine.
        runs = {run_id for run_id, _ in named}
        return found + [
            ("lost", f"blobs: the journal names none of run {promotion.summary['run']}")
            for promotion in acknowledged
            if promotion.summary["run"] not in runs
        ]

    def order_problems(self, disk, series, entries):
        """What is on the branch was announced before, and what the journal says to be on the branch is there."""
        commits = {
            phase: [body["commit"] for _, kind, body in entries if kind == phase]
            for phase in ("promotion.prepare", "promotion.committed")
        }
        tip = tip_of(disk)
        found = []
        if tip in series and tip not in commits["promotion.prepare"]:
            found.append(("lost", f"the announcement of {tip}, which is on the branch"))
        reached = series.index(tip) + 1 if tip in series else 0
        return found + [
            ("lost", f"the branch is not at {commit}, which the journal says it was")
            for commit in commits["promotion.committed"]
            if commit in series[reached:]
        ]

    def artifact_problems(self, artifacts, acknowledged):
        summaries, found = {}, []
        for path in artifacts.glob("*/summary.json"):
            try:
                summaries[path.parent.name] = json.loads(path.read_text())
            except ValueError:
                found.append(("corrupt", f"the summary of run {path.parent.name} is not whole"))
        return found + [
            ("lost", f"the summary of run {promotion.summary['run']}")
            for promotion in acknowledged
            if summaries.get(promotion.summary["run"]) != promotion.summary
        ]

    def recover(self, disk, tip, number):
        """Runs the next order on what was left. Gives what went wrong."""
        enter_next_boot(disk)
        try:
            after = self.promote(disk, number, tip)
        except Broken as error:
            return [str(error)]
        commit, repository = tip_of(disk), disk / "repository"
        if commit == tip:
            return [f"order {number} ended well and left the branch where it was"]
        parent = git(repository, "rev-parse", f"{commit}^").stdout.strip()
        expected = tip or git(repository, "rev-parse", "HEAD").stdout.strip()
        found = [] if parent == expected else [f"{commit} does not follow {expected}"]
        found += [text for _, text in repository_problems(disk, [commit], 1)]
        return found + [text for _, text in self.problems(disk, [commit], [after] if after.summary else [])]


def enter_next_boot(disk):
    """A cut of the power ends the boot, and this machine goes on with the same one: makes what was left another's."""
    for marker in (disk / "cache/factory/trees").glob("*.ok"):
        # The id of the boot in which the tree was written, when that was finished.
        if marker.read_text():
            marker.write_text("ffffffff-ffff-4fff-bfff-ffffffffffff\n")


# --- What is left of it ---------------------------------------------------------------------------------------------


def tip_of(disk):
    name = f"refs/heads/{BRANCH}"
    return git(disk / "repository", "rev-parse", "--quiet", "--verify", name, check=False).stdout.strip() or None


def repository_problems(disk, series, required):
    """What is wrong with the repository, when the first `required` commits of the series have to be there."""
    checked = git(disk / "repository", "fsck", "--strict", "--full", check=False)
    # Objects that no ref leads to yet are what a crash before the ref moved leaves.
    lines = (checked.stdout + checked.stderr).splitlines()
    complaints = [line for line in lines if not line.startswith(("dangling ", "notice: "))]
    found = [("corrupt", f"git fsck: {line}") for line in complaints]
    if checked.returncode != 0 and not complaints:
        found.append(("corrupt", f"git fsck ended with {checked.returncode}"))
    tip = tip_of(disk)
    if tip is not None and tip not in series:
        return found + [("corrupt", f"the branch is at {tip}, which nobody promoted")]
    # That all before the tip is there and readable is what fsck has looked at.
    reached = series.index(tip) + 1 if tip else 0
    if reached < required:
        found.append(("lost", f"the branch has {reached} of {required} acknowledged promotions"))
    return found


@dataclasses.dataclass
class Tally:
    points: int = 0
    lost: int = 0
    corrupt: int = 0
    recoveries: int = 0
    unrecovered: int = 0

    def add(self, found):
        self.points += 1
        self.lost += any(kind == "lost" for kind, _ in found)
        self.corrupt += any(kind == "corrupt" for kind, _ in found)


class Part:
    """A series of promotions by one program, and the crashes in it."""

    def __init__(self, disk, program, recovers):
        self.disk, self.program, self.recovers = disk, program, recovers
        self.promotions, self.tally, self.details = [], Tally(), []

    def record(self):
        """Makes the promotions."""
        with self.disk.recording() as directory:
            make_repository(directory)
            self.start = self.disk.written()
            tip = None
            for number in range(1, PROMOTIONS + 1):
                promotion = self.program.promote(directory, number, tip)
                promotion.entries = self.disk.written()
                self.promotions.append(promotion)
                tip = promotion.commit
            self.end = self.disk.written()
        self.log = Log(self.disk.log)

    def points(self, count, generators):
        """Where the power fails, as numbers of entries: the moment after each promotion, and anywhere."""
        cuts = [(promotion.entries, generators[0]) for promotion in self.promotions][:count]
        for number in range(count - len(cuts)):
            generator = generators[number % len(generators)]
            cuts.append((generator.randint(self.start, self.end), generator))
        return sorted(cuts, key=lambda cut: cut[0])

    def replay(self, count, generators):
        """Cuts the power at that many points."""
        stable, crashed = self.disk.work / "stable", self.disk.work / "crashed"
        copy_sparse(self.disk.base, stable)
        applied = 0
        for number, (cut, generator) in enumerate(self.points(count, generators)):
            flushed = self.log.last_flush(cut)
            with open(stable, "r+b") as file:
                for entry in self.log.entries[applied:flushed]:
                    file.seek(entry.offset)
                    file.write(self.log.bytes_of(entry))
            applied = flushed
            copy_sparse(stable, crashed)
            with open(crashed, "r+b") as file:
                for entry in self.log.entries[flushed:cut]:
                    self.write_some(file, entry, generator)
            with mounted(crashed, self.disk.mounted) as directory:
                self.look(directory, cut, number)

    def write_some(self, file, entry, generator):
        """Writes what the disk happened to keep of an entry: nothing, all, or seldom some of its blocks."""
        if generator.random() < 0.5:
            return
        data, torn = self.log.bytes_of(entry), generator.random() < 0.25
        for start in range(0, len(data), BLOCK):
            if not torn or generator.random() < 0.5:
                file.seek(entry.offset + start)
                file.write(data[start : start + BLOCK])

    def look(self, directory, cut, number):
        acknowledged = [promotion for promotion in self.promotions if promotion.entries <= cut]
        series = [promotion.commit for promotion in self.promotions]
        found = repository_problems(directory, series, len(acknowledged))
        found += self.program.problems(directory, series, acknowledged)
        self.tally.add(found)
        self.details += [f"point {cut} of {self.start}-{self.end}: {kind}: {text}" for kind, text in found]
        # The lock of a ref that was about to move is the likeliest to be in the way of what comes next.
        is_locked = any((directory / "repository/.git/refs").rglob("*.lock"))
        if self.recovers and not found and (number % RECOVER_EVERY == 0 or is_locked):
            self.recover(directory, cut, series)

    def recover(self, directory, cut, series):
        tip = tip_of(directory)
        found = self.program.recover(directory, tip, series.index(tip) + 2 if tip else 1)
        self.tally.recoveries += 1
        self.tally.unrecovered += bool(found)
        self.details += [f"point {cut} of {self.start}-{self.end}: not recovered: {text}" for text in found]


ROW = "{:<34} {:>10} {:>6} {:>4} {:>7} {:>9} {:>7}"
# Takes the place of what the C library has under these names.
NO_SYNCS = """
int fsync(int fd) { (void)fd; return 0; }
int fdatasync(int fd) { (void)fd; return 0; }
"""
# What each check says first when it finds something.
CHECKS = ("git fsck", "the branch", "the journal", "the announcement", "blob", "the summary")


class Test:
    """All parts, one after the other."""

    def __init__(self, work, arguments):
        self.work, self.binary, self.count = work, arguments.binary, arguments.points
        fresh = random.SystemRandom().randrange(1 << 32)
        self.seeds = [SEED, fresh] if arguments.seed is None else [arguments.seed]
        self.kind, self.parts, self.broken = arguments.file_system, 0, []

    def run(self):
        """Gives what does not hold."""
        print(f"seeds: {' '.join(map(str, self.seeds))}")
        print(ROW.format("what promotes", "promotions", "points", "lost", "corrupt", "recovered", "seconds"))
        ours = self.play("factory", Factory(self.work / "factory", self.binary), recovers=True)
        if ours.details:
            self.fail("what factory acknowledged did not survive, or it did not carry on by itself", ours)
        careful = Git(self.work / "careful", ["-c", "core.fsync=committed"], sync=True)
        positive = self.play("control: git, everything synced", careful)
        if positive.details:
            self.fail("the control that keeps everything lost something: this test finds what is not there", positive)
        negative = self.play("control: git's own settings", Git(self.work / "plain"))
        if not negative.details:
            self.fail("the control that loses commits lost none: no fault would be found")
        self.without_syncs("control: factory without its syncs")
        return self.broken

    def play(self, name, program, recovers=False):
        """Records and replays one part, and prints its line."""
        started = time.monotonic()
        self.parts += 1
        part = Part(Disk(self.work / f"part-{self.parts}", self.kind), program, recovers)
        part.record()
        part.replay(self.count, [random.Random(seed) for seed in self.seeds])
        tally = part.tally
        recovered = f"{tally.recoveries - tally.unrecovered}/{tally.recoveries}" if recovers else "-"
        seconds = f"{time.monotonic() - started:.1f}"
        row = [name, len(part.promotions), tally.points, tally.lost, tally.corrupt, recovered, seconds]
        print(ROW.format(*row), flush=True)
        shutil.rmtree(part.disk.work)
        return part

    def without_syncs(self, name):
        """The control that shows that each check finds something where there is something."""
        if "INTERP" not in run("readelf", "--program-headers", "--wide", self.binary).stdout:
            print(f"{name}: left out, because a static binary keeps its syncs")
            return
        (self.work / "no-syncs.c").write_text(NO_SYNCS)
        library = self.work / "no-syncs.so"
        run("cc", "-shared", "-fPIC", "-o", library, self.work / "no-syncs.c")
        part = self.play(name, Factory(self.work / "careless", self.binary, library))
        # Elsewhere what was not synced is lost as a whole, in the order in which it was written.
        checks = CHECKS if self.kind == "ext4" else ["the journal"]
        silent = [check for check in checks if not any(f": {check}" in line for line in part.details)]
        if silent:
            self.fail(f"nothing was lost that these checks look at: {', '.join(silent)}")

    def fail(self, what, part=None, most=20):
        self.broken.append(what)
        details = part.details if part else []
        for line in details[:most]:
            print(f"  {line}", file=sys.stderr)
        if len(details) > most:
            print(f"  and {len(details) - most} more", file=sys.stderr)


def stop(number, _frame):
    raise SystemExit(128 + number)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--binary", required=True)
    parser.add_argument("--points", type=int, required=True)
    parser.add_argument("--seed", type=int)
    parser.add_argument("--file-system", required=True)
    arguments = parser.parse_args()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, stop)
    work = pathlib.Path(tempfile.mkdtemp(prefix="factory-power-loss."))
    try:
        run("mount", "-t", "tmpfs", "-o", f"size={MEMORY},mode=755", "power-loss", work)
        try:
            broken = Test(work, arguments).run()
        finally:
            # Whatever still looks at it ends with us.
            run("umount", "--lazy", work, check=False)
    except (Broken, subprocess.SubprocessError) as error:
        broken = [f"the test broke: {error}"]
    finally:
        work.rmdir()
    for line in broken:
        print(f"error: {line}", file=sys.stderr)
    sys.exit(1 if broken else 0)


if __name__ == "__main__":
    main()
