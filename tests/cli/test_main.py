"""The `swinkit` program: help, unknown commands, exit codes, and what a user sees when things go wrong."""

import subprocess
import sys
import types

import pytest

import swinkit
from swinkit.cli import main as program
from swinkit.errors import InputError


@pytest.fixture
def command(monkeypatch):
    """Install a command called `trial` that does what the test says."""

    def install(action):
        module = types.ModuleType("swinkit_trial")
        monkeypatch.setattr(module, "main", action, raising=False)
        monkeypatch.setitem(sys.modules, "swinkit_trial", module)
        monkeypatch.setitem(program.COMMANDS, "trial", "swinkit_trial:main")

    return install


def fail_with(error):
    def action(words):
        raise error

    return action


def test_help_teaches(capsys):
    assert program.main(["--help"]) == 0
    text = capsys.readouterr().out
    assert program.main([]) == 0
    assert capsys.readouterr().out == text
    for name in program.COMMANDS:
        assert f"\n  {name} " in text
    assert all(example in text for example in program.EXAMPLES)
    assert len(program.EXAMPLES) == 3
    assert max(map(len, text.splitlines())) <= 110


def test_every_command_is_in_one_group():
    grouped = [name for group in program.GROUPS.values() for name in group]
    assert sorted(grouped) == sorted(program.COMMANDS)


def test_version(capsys):
    assert program.main(["--version"]) == 0
    assert capsys.readouterr().out.strip() == f"swinkit {swinkit.__version__}"


@pytest.mark.parametrize(
    ("word", "advice"),
    [
        ("modles", "did you mean `swinkit models`?"),
        ("trian", "did you mean `swinkit train`?"),
        ("zzzz", "`swinkit --help` lists the commands"),
        ("--seed", "options come after the command"),
    ],
)
def test_an_unknown_command_suggests(capsys, word, advice):
    assert program.main([word]) == 2
    shown = capsys.readouterr()
    assert shown.err.startswith("swinkit: error: ")
    assert advice in shown.err
    assert not shown.out


def test_help_command_asks_the_command(command):
    seen = []
    command(lambda words: seen.append(words) or 0)
    assert program.main(["help", "trial"]) == 0
    assert seen == [["--help"]]


def test_words_and_code_pass_through(command):
    command(len)
    assert program.main(["trial", "a", "-v"]) == 2


def test_bad_input_is_one_line_and_code_2(command, capsys):
    command(fail_with(InputError("expected a folder, got nothing: give one.")))
    assert program.main(["trial"]) == 2
    assert capsys.readouterr().err == "swinkit: error: expected a folder, got nothing: give one.\n"


def test_bad_input_stays_one_line_with_verbose(command, capsys):
    command(fail_with(InputError("no.")))
    assert program.main(["trial", "-v"]) == 2
    assert capsys.readouterr().err == "swinkit: error: no.\n"


def test_a_defect_is_one_line_and_code_1(command, capsys):
    command(fail_with(RuntimeError("shapes\n do not fit")))
    assert program.main(["trial"]) == 1
    text = capsys.readouterr().err
    assert text.startswith("swinkit: defect: RuntimeError: shapes do not fit (add -v")
    assert text.count("\n") == 1


@pytest.mark.parametrize("flag", ["-v", "--verbose"])
def test_verbose_shows_a_defect_in_full(command, flag):
    command(fail_with(RuntimeError("shapes")))
    with pytest.raises(RuntimeError, match="shapes"):
        program.main(["trial", flag])


def test_ctrl_c_is_130(command, capsys):
    command(fail_with(KeyboardInterrupt()))
    assert program.main(["trial"]) == 130
    assert capsys.readouterr().err == "swinkit: stopped.\n"


def test_gpu_out_of_memory_says_what_to_do(command, capsys):
    command(fail_with(type("OutOfMemoryError", (RuntimeError,), {})("CUDA out of memory")))
    assert program.main(["trial"]) == 2
    assert "smaller batches" in capsys.readouterr().err


@pytest.mark.parametrize(("raised", "code"), [(SystemExit(2), 2), (SystemExit(), 0), (SystemExit("text"), 1)])
def test_a_parser_that_exits_gives_its_code(command, raised, code):
    command(fail_with(raised))
    assert program.main(["trial"]) == code


def test_a_closed_pipe_is_quiet():
    code = "import sys, swinkit.cli.main as m; sys.exit(m.main(['--help']))"
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(30) == 141


def test_help_does_not_import_torch():
    code = "import sys, swinkit.cli.main as m; m.main([]); m.main(['nothing']); print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "False"


@pytest.mark.parametrize("name", sorted(program.COMMANDS))
def test_every_command_explains_itself_with_two_examples(name, capsys):
    assert program.main([name, "--help"]) == 0
    text = capsys.readouterr().out
    assert f"usage: swinkit {name}" in text
    examples = text.split("examples:\n")[1].split("\n\n")[0].splitlines()
    lines = [line.strip() for line in examples if line.startswith("  ")]
    assert len(lines) >= 2
    assert all(line.startswith(f"swinkit {name}") for line in lines)
    for option in ("--device", "--seed", "--verbose"):
        assert option in text


@pytest.mark.parametrize("name", sorted(program.COMMANDS))
def test_every_command_refuses_an_unknown_option(name, capsys):
    assert program.main([name, "--no-such-option", "1"]) == 2
    shown = capsys.readouterr()
    assert shown.err
    assert not shown.out
