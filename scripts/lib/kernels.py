"""Judges what machines told, and prints a table of kernels and cases. Beside ../kernels, which starts it.

Arguments are BOOT:FILE, in the order of the columns; the file is what kernels-guest.sh wrote.
"""

import json
import pathlib
import re
import sys

# The limits of the profiles in ../kernels.
MEMORY = 96 << 20
PIDS = 40

TOLD = re.compile(r"^@case (\S+) (\d+)\n(.*?)\n@error\n(.*?)\n@end$", re.MULTILINE | re.DOTALL)


class Failed(Exception):
    """What does not hold."""


class Absent(Exception):
    """What this kernel does not have, with its answer."""


class Answer:
    def __init__(self, code, text, error):
        self.code, self.text, self.error = int(code), text.strip(), error.strip()

    def document(self):
        try:
            return json.loads(self.text)
        except json.JSONDecodeError:
            raise Failed(f"no document, exit code {self.code}: {self.error or self.text}") from None


class Machine:
    def __init__(self, boot, path):
        text = pathlib.Path(path).read_text(errors="replace") if pathlib.Path(path).exists() else ""
        text = text.replace("\r", "")
        begun = re.search(r"^@begin (\S+)$", text, re.MULTILINE)
        self.kernel = begun and begun[1]
        self.boot = boot
        self.is_done = "@done" in text.splitlines()
        self.answers = {name: Answer(*rest) for name, *rest in TOLD.findall(text)}

    def __getitem__(self, name):
        if name not in self.answers:
            raise Failed(f"the machine ended before {name}")
        return self.answers[name]


def expect(holds, what):
    if not holds:
        raise Failed(what)


def outcome(document):
    return document.get("outcome") or document.get("problem")


def runs(answer, tree=None):
    """The command ran to a good end in a sandbox."""
    document = answer.document()
    expect(answer.code == 0 and outcome(document) == {"kind": "exit", "code": 0}, outcome(document))
    found = document["receipt"]["enforced"]["tree"]
    expect(tree in (None, found), f"the tree is {found}")
    return document


def is_refused(answer, *words):
    """The command was not run; the problem names the layer, and its hint what to do."""
    document = answer.document()
    problem = document.get("problem") or {}
    expect(answer.code == 21 and problem.get("exit_code") == 21, f"exit code {answer.code}: {outcome(document)}")
    expect(problem.get("hint"), "no remedy")
    for word in words:
        expect(word in problem["message"] + problem["hint"], f"not named: {word}: {problem}")


def check_of(document, name):
    return next(check for check in document["checks"] if check["id"] == name)


def landlock_abi(machine, who):
    return machine[f"doctor/{who}"].document()["facts"]["landlock"]["abi"] or 0


def doctor(machine, who):
    answer = machine[f"doctor/{who}"]
    document = answer.document()
    expect(document["exit_code"] == answer.code, f"{answer.code}, and says {document['exit_code']}")
    wanted = (True, 0) if machine.boot == "all" else (False, 21)
    expect((document["can_run"], answer.code) == wanted, (document["problem"] or {}).get("causes"))


def below(machine, who):
    document = runs(machine[f"below/{who}"])
    expect(document["receipt"]["enforced"]["landlock_abi"] >= 2, document["receipt"]["enforced"])
    expect(document["stdout"]["head"]["text"].startswith("ok seed"), document["stdout"])


def above(machine, who):
    is_refused(machine[f"above/{who}"], "Landlock ABI 7", "--waive")


def landlock_off(machine, who):
    check = check_of(machine[f"doctor/{who}"].document(), "landlock")
    expect(check["status"] == "fail" and "lsm=" in check["remedy"]["text"], check)
    is_refused(machine[f"below/{who}"], "Landlock", "--waive")


def waived(machine, who):
    document = runs(machine[f"waived/{who}"])
    expect(document["receipt"]["enforced"]["landlock_abi"] == 0, document["receipt"]["enforced"])


def changed(name, tree):
    def case(machine, who):
        document = runs(machine[f"{name}/{who}"])
        expect(document["stdout"]["head"]["text"] == "seed\nmore\n", document["stdout"])
        found = document["receipt"]["enforced"]["tree"]
        if found != tree:
            # What the kernel cannot do, doctor says too; the copy serves in its place.
            check = check_of(machine[f"{name}-doctor/{who}"].document(), "overlay")
            expect(check["status"] == "warn", f"the tree is {found}, and doctor knows of no reason")
            raise Absent(check["found"])

    return case


def limit_of(document, limit):
    return next(one for one in document["limits"] if one["limit"] == limit)


def keeps(name, by):
    """Every shared limit is kept by whom it should be, and whoever runs into one is told so."""

    def case(machine, who):
        for act, limit in (("memory", "memory"), ("many", "memory"), ("cpu", "cpu")):
            document = machine[f"{name}-{act}/{who}"].document()
            expect(outcome(document) == {"kind": "limit", "limit": limit}, f"{act}: {outcome(document)}")
            found = limit_of(document, limit)
            expect(found["enforced_by"] == by and found["hit"] is True, f"{act}: {found}")
        if by == "sampler":
            return
        document = machine[f"{name}-pids/{who}"].document()
        found = limit_of(document, "pids")
        expect(found["enforced_by"] == by and found["hit"] is True, f"pids: {found}")
        expect("errno=EAGAIN after" in document["stdout"]["head"]["text"], document["stdout"])
        document = runs(machine[f"{name}-peak/{who}"])
        peak = document["metering"]["peak_memory_bytes"]
        expect(40 << 20 <= peak < MEMORY, f"the peak of 40 MiB is {peak} bytes")

    return case


def nothing_left(name):
    def case(machine, who):
        answer = machine[f"{name}-left/{who}"]
        # Its own error names directories that this caller may not look into.
        expect(answer.text == "", f"left: {answer.text}")

    return case


def delegated_doctor(machine, who):
    document = machine[f"delegated-doctor/{who}"].document()
    groups = document["facts"]["cgroups"]
    for limit in ("memory", "pids", "cpu"):
        expect(groups[limit] == {"version": "v2", "parent": "/sys/fs/cgroup/delegated"}, groups[limit])
    expect(document["can_run"], document["problem"])


def undelegated(machine, who):
    is_refused(machine[f"alone-refused/{who}"], "control group", "--waive")


def ring_inside(machine, who):
    document = machine[f"ring-inside/{who}"].document()
    expect(document["stdout"]["head"]["text"].startswith("errno=ENOSYS"), document["stdout"])


def ring_off(machine, who):
    setting = machine[f"ring-setting/{who}"]
    if setting.code != 0:
        raise Absent("no io_uring_disabled; io_uring_setup: " + machine[f"ring-outside/{who}"].text)
    outside = machine[f"ring-outside/{who}"].text
    expect(outside.startswith("errno=EPERM"), f"the control: {outside}")
    runs(machine[f"ring-exec/{who}"])
    check = check_of(machine[f"ring-doctor/{who}"].document(), "io_uring")
    expect(check["status"] == "ok" and "off" in check["found"], check)


def without_namespaces(name, setting, error):
    """Refused, or the caller is one whom the setting does not reach; the answer outside decides which."""

    def case(machine, who):
        outside = machine[f"{name}-outside/{who}"].text
        if outside.startswith("ok") and machine[f"{name}-exec/{who}"].code == 0:
            runs(machine[f"{name}-exec/{who}"])
            raise Absent(f"unshare: {outside}, and runs work")
        expect(who == "root" or outside.startswith(f"errno={error}"), f"the control: {outside}")
        is_refused(machine[f"{name}-exec/{who}"])
        document = machine[f"{name}-doctor/{who}"].document()
        expect(document["exit_code"] == 21, document["problem"])
        check = check_of(document, "userns.create")
        expect(check["status"] == "fail" and setting in check["remedy"]["text"], check)

    return case


BOTH = ("root", "user")
LANDLOCK_ON = [
    ("doctor answers, and can run", BOTH, doctor),
    ("exec, Landlock as required or newer", BOTH, below),
    ("exec, Landlock older than required: refused", BOTH, above),
    ("a tree without overlayfs: copied", BOTH, changed("copied", "copy")),
    ("a tree with overlayfs: layered", BOTH, changed("layered", "overlay")),
    ("cgroup v2 at the top: limits and peaks", ("root",), keeps("top", "cgroup_v2")),
    ("cgroup v2 at the top: nothing left", ("root",), nothing_left("top")),
    ("cgroup v2 delegated: doctor", ("user",), delegated_doctor),
    ("cgroup v2 delegated: limits and peaks", ("user",), keeps("delegated", "cgroup_v2")),
    ("cgroup v2 delegated: nothing left", ("user",), nothing_left("delegated")),
    ("cgroup v2 delegated without cpu: limits", ("user",), keeps("narrow", "cgroup_v2")),
    ("cgroup v2 not delegated: the sampler", ("user",), keeps("alone", "sampler")),
    ("cgroup v2 not delegated, but required: refused", ("user",), undelegated),
    ("io_uring inside", BOTH, ring_inside),
    ("io_uring_disabled=2", BOTH, ring_off),
    ("unprivileged_userns_clone=0: refused", BOTH, without_namespaces("clone", "unprivileged_userns_clone", "EPERM")),
    ("max_user_namespaces=0: refused", BOTH, without_namespaces("most", "max_user_namespaces", "ENOSPC")),
]
LANDLOCK_OFF = [
    ("Landlock off at boot: doctor answers", BOTH, doctor),
    ("Landlock off at boot: refused", BOTH, landlock_off),
    ("Landlock off at boot, waived: runs", BOTH, waived),
]


def judge(case, machine, who):
    try:
        case(machine, who)
    except Absent as absent:
        return f"not here: {absent}"
    except Failed as failed:
        return f"FAILED: {failed}"
    except (KeyError, StopIteration, TypeError, AttributeError) as error:
        return f"FAILED: the answer has another form: {error!r}"
    return "ok"


def table(rows, kernels):
    """A line for each case, a column for each kernel, and what there is to say about cells below."""
    notes = []
    title_width = max(len(title) for title, _ in rows)
    head = [kernel.split("-")[0] for kernel in kernels]
    print(" " * (title_width + 6), *(f"{kernel:<16}" for kernel in head))
    for (title, who), cells in rows.items():
        line = []
        for kernel in kernels:
            verdict, _, reason = cells.get(kernel, "-").partition(": ")
            if reason:
                notes.append(f"[{len(notes) + 1}] {reason}")
                verdict = f"{verdict} [{len(notes)}]"
            line.append(f"{verdict:<16}")
        print(f"{title:<{title_width}} {who:<5}", *line)
    print(*notes, sep="\n")


def main():
    machines = [Machine(*argument.split(":", 1)) for argument in sys.argv[1:]]
    silent = [machine.boot for machine in machines if not machine.kernel]
    rows = {}
    for machine in (machine for machine in machines if machine.kernel):
        for title, callers, case in LANDLOCK_ON if machine.boot == "all" else LANDLOCK_OFF:
            for who in callers:
                rows.setdefault((title, who), {})[machine.kernel] = judge(case, machine, who)
        ended = "ok" if machine.is_done else "FAILED: the machine was stopped, or stopped in between"
        rows.setdefault((f"the machine came to its end ({machine.boot})", ""), {})[machine.kernel] = ended
    if rows:
        table(rows, list(dict.fromkeys(machine.kernel for machine in machines if machine.kernel)))
    verdicts = [verdict for cells in rows.values() for verdict in cells.values()]
    failures = sum(verdict.startswith("FAILED") for verdict in verdicts)
    print(f"{len(verdicts)} checked, {failures} failed")
    if failures:
        sys.exit(1)
    if silent:
        print(f"error: {len(silent)} machines did not come to run anything", file=sys.stderr)
        sys.exit(2)


main()
