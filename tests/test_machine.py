"""What is read from the system's description of its processors."""

from swinkit import machine


def test_fields_of_every_core(monkeypatch) -> None:
    text = "processor : 0\nmodel name\t: A chip: fast\nflags : x y\n\nmodel name : B\nmodel names\n"
    monkeypatch.setattr(machine, "cpuinfo", lambda: text)
    assert machine.cpu_facts("model name") == ["A chip: fast", "B"]
    assert machine.cpu_facts("missing") == []


def test_a_system_without_a_description(monkeypatch, tmp_path) -> None:
    monkeypatch.setattr(machine, "Path", lambda _: tmp_path / "none")
    assert machine.cpuinfo() == ""
    assert machine.cpu_facts("model name") == []
