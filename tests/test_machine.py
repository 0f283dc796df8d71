"""What is read from the system's description of its processors."""

from swinkit import machine
from swinkit.bench import environment


def test_fields_of_every_core(monkeypatch) -> None:
    text = "processor : 0\nmodel name\t: A chip: fast\nflags : x y\n\nmodel name : B\nmodel names\n"
    monkeypatch.setattr(machine, "cpuinfo", lambda: text)
    assert machine.cpu_facts("model name") == ["A chip: fast", "B"]
    assert machine.cpu_facts("missing") == []


def test_a_system_without_a_description(monkeypatch, tmp_path) -> None:
    monkeypatch.setattr(machine, "Path", lambda _: tmp_path / "none")
    assert machine.cpuinfo() == ""
    assert machine.cpu_facts("model name") == []


def test_the_commit_is_that_of_our_own_checkout(monkeypatch, tmp_path) -> None:
    answers = {"rev-parse --show-toplevel": str(machine.ROOT), "rev-parse HEAD": "a" * 40}
    monkeypatch.setattr(machine, "_git", lambda *words: answers.get(" ".join(words), ""))
    assert machine.commit() == "a" * 40
    assert environment.commit() == "a" * 12
    answers["status --porcelain --untracked-files=no"] = " M file"
    assert machine.commit() == "a" * 40 + "+"
    assert environment.commit() == "a" * 12 + "+"
    answers["rev-parse --show-toplevel"] = str(tmp_path)
    assert machine.commit() is None
    assert environment.commit() == ""
