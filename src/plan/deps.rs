//! The files of the repository that a command needs, as far as its words tell.

use super::normal::normal_path;
use super::python;
use crate::order::split_command;

/// The Python text of a command `python -c TEXT`. Only this spelling is read: what an interpreter of another name takes for
/// Python is not known.
pub(super) fn python_text(argv: &[String]) -> Option<&str> {
    match argv {
        [program, option, text, ..] if program == "python" && option == "-c" => Some(text),
        _ => None,
    }
}

/// Modules of the repository that a Python text imports; none when it is no Python.
pub(super) fn own_modules(text: &str) -> Vec<String> {
    let imports = python::imports(text).unwrap_or_default();
    imports.into_iter().filter(|module| !is_library(module)).collect()
}

/// Where a module may be.
pub(super) fn places(module: &str) -> [String; 2] {
    let path = module.replace('.', "/");
    [format!("{path}.py"), format!("{path}/__init__.py")]
}

/// The modules, by the first part of their names, that a command of Python names: that which is run, or those which its text
/// imports. Whether they come with Python is not asked.
pub fn python_modules(argv: &[String]) -> Vec<String> {
    let modules = match argv {
        [program, option, module, ..] if is_python(program) && option == "-m" => vec![module.clone()],
        [program, option, text, ..] if is_python(program) && option == "-c" => {
            python::imports(text).unwrap_or_default()
        }
        _ => Vec::new(),
    };
    let mut first: Vec<_> = modules
        .iter()
        .filter_map(|module| module.split('.').next())
        .map(str::to_owned)
        .collect();
    first.sort();
    first.dedup();
    first
}

fn is_python(program: &str) -> bool {
    program == "python" || program == "python3"
}

/// The files that a command depends on: the script that bash is given, and each place where a module may be that a Python
/// text imports.
pub fn dependencies(command: &str) -> Vec<String> {
    let argv = split_command(command).unwrap_or_default();
    if let Some(text) = python_text(&argv) {
        return own_modules(text).iter().flat_map(|module| places(module)).collect();
    }
    match argv.as_slice() {
        [program, script, ..] if program == "bash" && !script.starts_with('-') => vec![normal_path(script)],
        _ => Vec::new(),
    }
}

/// Whether a module comes with Python, or is what this program itself runs tests with. Other packages are not known here,
/// and importing one that the profile grants is only worth a warning.
pub fn is_library(module: &str) -> bool {
    let package = module.split('.').next().unwrap_or_default();
    package == "pytest" || package == "_pytest" || LIBRARY.contains(&package) || package == "__future__"
}

/// The modules of the standard library, those of all versions since 3.8 together. Source: `sys.stdlib_module_names`.
const LIBRARY: &[&str] = &[
    "_collections_abc",
    "_thread",
    "abc",
    "aifc",
    "annotationlib",
    "antigravity",
    "argparse",
    "array",
    "ast",
    "asynchat",
    "asyncio",
    "asyncore",
    "atexit",
    "audioop",
    "base64",
    "bdb",
    "binascii",
    "binhex",
    "bisect",
    "builtins",
    "bz2",
    "cProfile",
    "calendar",
    "cgi",
    "cgitb",
    "chunk",
    "cmath",
    "cmd",
    "code",
    "codecs",
    "codeop",
    "collections",
    "colorsys",
    "compileall",
    "compression",
    "concurrent",
    "configparser",
    "contextlib",
    "contextvars",
    "copy",
    "copyreg",
    "crypt",
    "csv",
    "ctypes",
    "curses",
    "dataclasses",
    "datetime",
    "dbm",
    "decimal",
    "difflib",
    "dis",
    "distutils",
    "doctest",
    "dummy_threading",
    "email",
    "encodings",
    "ensurepip",
    "enum",
    "errno",
    "faulthandler",
    "fcntl",
    "filecmp",
    "fileinput",
    "fnmatch",
    "formatter",
    "fractions",
    "ftplib",
    "functools",
    "gc",
    "genericpath",
    "getopt",
    "getpass",
    "gettext",
    "glob",
    "graphlib",
    "grp",
    "gzip",
    "hashlib",
    "heapq",
    "hmac",
    "html",
    "http",
    "idlelib",
    "imaplib",
    "imghdr",
    "imp",
    "importlib",
    "inspect",
    "io",
    "ipaddress",
    "itertools",
    "json",
    "keyword",
    "lib2to3",
    "linecache",
    "locale",
    "logging",
    "lzma",
    "macpath",
    "mailbox",
    "mailcap",
    "marshal",
    "math",
    "mimetypes",
    "mmap",
    "modulefinder",
    "msilib",
    "msvcrt",
    "multiprocessing",
    "netrc",
    "nis",
    "nntplib",
    "nt",
    "ntpath",
    "nturl2path",
    "numbers",
    "opcode",
    "operator",
    "optparse",
    "os",
    "ossaudiodev",
    "parser",
    "pathlib",
    "pdb",
    "pickle",
    "pickletools",
    "pipes",
    "pkgutil",
    "platform",
    "plistlib",
    "poplib",
    "posix",
    "posixpath",
    "pprint",
    "profile",
    "pstats",
    "pty",
    "pwd",
    "py_compile",
    "pyclbr",
    "pydoc",
    "pydoc_data",
    "pyexpat",
    "queue",
    "quopri",
    "random",
    "re",
    "readline",
    "reprlib",
    "resource",
    "rlcompleter",
    "runpy",
    "sched",
    "secrets",
    "select",
    "selectors",
    "shelve",
    "shlex",
    "shutil",
    "signal",
    "site",
    "smtpd",
    "smtplib",
    "sndhdr",
    "socket",
    "socketserver",
    "spwd",
    "sqlite3",
    "sre_compile",
    "sre_constants",
    "sre_parse",
    "ssl",
    "stat",
    "statistics",
    "string",
    "stringprep",
    "struct",
    "subprocess",
    "sunau",
    "symbol",
    "symtable",
    "sys",
    "sysconfig",
    "syslog",
    "tabnanny",
    "tarfile",
    "telnetlib",
    "tempfile",
    "termios",
    "textwrap",
    "this",
    "threading",
    "time",
    "timeit",
    "tkinter",
    "token",
    "tokenize",
    "tomllib",
    "trace",
    "traceback",
    "tracemalloc",
    "tty",
    "turtle",
    "turtledemo",
    "types",
    "typing",
    "unicodedata",
    "unittest",
    "urllib",
    "uu",
    "uuid",
    "venv",
    "warnings",
    "wave",
    "weakref",
    "webbrowser",
    "winreg",
    "winsound",
    "wsgiref",
    "xdrlib",
    "xml",
    "xmlrpc",
    "zipapp",
    "zipfile",
    "zipimport",
    "zlib",
    "zoneinfo",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_module_is_a_file_or_a_package() {
        let command = "python -c \"import os.path, a.b; from json import loads\"";
        assert_eq!(dependencies(command), ["a/b.py", "a/b/__init__.py"]);
        assert_eq!(dependencies("bash -c 'x'"), Vec::<String>::new());
    }

    #[test]
    fn the_list_of_the_library_is_sorted_and_without_doubles() {
        assert!(LIBRARY.is_sorted() && LIBRARY.windows(2).all(|pair| pair[0] != pair[1]));
    }
}
