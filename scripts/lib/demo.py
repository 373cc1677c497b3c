"""What scripts/quickstart needs beyond the shell: a listener to be attacked, and eyes to see what came of it.

Needs Python's standard library only. Each subcommand does one thing:

    listen DIR       listens on loopback (TCP and UDP) and an abstract socket; one line a contact in DIR/hits;
                     writes DIR/port when ready
    knock PORT       makes one contact of each kind, which shows that the listener hears
    digest DIR       one digest of all that a checkout holds: files, modes, links, and git's HEAD, config, index, hooks
    running WORD     counts processes with WORD among their arguments
    result FILE      verdict, attempts and commit from what `factory run --json` printed, separated by tabs
    attempts DIR     lines `tried: …` that commands printed, from the artifacts of a run
"""

import hashlib
import json
import os
import pathlib
import selectors
import socket
import sys

# The hostile example tries all of these, because it cannot know which one was free.
PORTS = range(47811, 47816)
ABSTRACT = "\0slots-demo-listener"


def bound(port):
    tcp = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    try:
        tcp.bind(("127.0.0.1", port))
        udp.bind(("127.0.0.1", port))
    except OSError:
        tcp.close()
        udp.close()
        return None
    tcp.listen()
    return tcp, udp


def listen(directory):
    for port in PORTS:
        sockets = bound(port)
        if sockets:
            break
    else:
        sys.exit(f"error: ports {PORTS.start} to {PORTS.stop - 1} are all in use")
    tcp, udp = sockets
    abstract = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        abstract.bind(ABSTRACT)
    except OSError:
        sys.exit("error: another demo is running")
    abstract.listen()
    selector = selectors.DefaultSelector()
    for kind, listener in (("tcp", tcp), ("udp", udp), ("abstract", abstract)):
        selector.register(listener, selectors.EVENT_READ, kind)
    with open(directory / "hits", "a", encoding="utf-8", buffering=1) as hits:
        (directory / "port.new").write_text(f"{port}\n", encoding="utf-8")
        (directory / "port.new").rename(directory / "port")
        while True:
            for key, _ in selector.select():
                if key.data == "udp":
                    _, address = udp.recvfrom(1500)
                    udp.sendto(b"heard", address)
                else:
                    key.fileobj.accept()[0].close()
                print(key.data, file=hits)


def knock(port):
    with socket.create_connection(("127.0.0.1", port), 5):
        pass
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(5)
        client.connect(("127.0.0.1", port))
        client.send(b"knock")
        client.recv(16)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        client.settimeout(5)
        client.connect(ABSTRACT)


def paths_below(root):
    """Every path of the checkout; of git's own directory only what a checkout, and not a commit, changes."""
    for directory, names, files in os.walk(root):
        if pathlib.Path(directory) == root / ".git":
            names[:] = [name for name in names if name == "hooks"]
            files = [name for name in files if name in ("HEAD", "config", "index")]
        yield from (os.path.join(directory, name) for name in [*names, *files])


def digest(root):
    total = hashlib.sha256()
    for path in sorted(paths_below(root)):
        status = os.lstat(path)
        if os.path.islink(path):
            content = os.readlink(path).encode()
        elif os.path.isfile(path):
            content = pathlib.Path(path).read_bytes()
        else:
            content = b""
        name = os.path.relpath(path, root)
        total.update(f"{name}\0{status.st_mode:o}\0{hashlib.sha256(content).hexdigest()}\n".encode())
    return total.hexdigest()


def running(word):
    count = 0
    for path in pathlib.Path("/proc").glob("[0-9]*/cmdline"):
        try:
            arguments = path.read_bytes().split(b"\0")
        except OSError:
            continue  # It ended meanwhile.
        count += int(path.parent.name) != os.getpid() and word.encode() in arguments
    return count


def find(value, names):
    """The value of the first of these keys in a JSON value, from the outside in."""
    level = [value]
    while level:
        for item in level:
            if isinstance(item, dict):
                for name in names:
                    if item.get(name) is not None:
                        return item[name]
        level = [
            child
            for item in level
            if isinstance(item, (dict, list))
            for child in (item.values() if isinstance(item, dict) else item)
        ]
    return None


def result(text):
    """Reads one JSON value, or the last line of several."""
    try:
        value = json.loads(text)
    except ValueError:
        try:
            value = json.loads(text.strip().rpartition("\n")[2])
        except ValueError:
            value = {}
    attempts = find(value, ["attempts", "total_attempts"])
    attempts = len(attempts) if isinstance(attempts, list) else attempts
    commit = find(value, ["commit", "commit_id"])
    commit = commit[:12] if isinstance(commit, str) else "-"
    return f"{find(value, ['verdict']) or '-'}\t{attempts or '-'}\t{commit}"


def attempts(root):
    """The lines in the order printed. A line that several artifacts hold, such as the next prompt, counts once."""
    lines = {}
    # Captured output first, because it has all lines and in their order; the rest, in case it is kept elsewhere.
    for path in sorted(root.rglob("*"), key=lambda path: ("stdout" not in path.name, path)):
        if path.is_file():
            for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
                if line.startswith("tried: "):
                    # What a hostile command prints must not reach a terminal as it is.
                    lines["".join(char if char.isprintable() else "?" for char in line)] = None
    return "\n".join(lines)


def main(command, argument):
    if command == "listen":
        listen(pathlib.Path(argument))
    elif command == "knock":
        knock(int(argument))
    elif command == "digest":
        print(digest(pathlib.Path(argument)))
    elif command == "running":
        print(running(argument))
    elif command == "result":
        print(result(pathlib.Path(argument).read_text(encoding="utf-8", errors="replace")))
    elif command == "attempts":
        print(attempts(pathlib.Path(argument)))
    else:
        sys.exit(__doc__)


if __name__ == "__main__":
    main(*sys.argv[1:]) if len(sys.argv) == 3 else sys.exit(__doc__)
