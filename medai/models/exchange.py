"""A fitted net as an ONNX file: the form in which it is hashed, kept and scored.

tf2onnx numbers its names by a counter of the process and Keras by what was built before, so two exports of one net
would differ. Here nodes are put in the order in which the scores need them, and names follow from that order: equal
weights, equal bytes.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import keras

OPSET = 18
IR_VERSION = 10
"""Of ONNX 1.16: read by every ONNX Runtime since 1.18."""


def onnx_bytes(model: keras.Model) -> bytes:
    """The net as an ONNX file.

    Args:
        model: a net with the inputs' names that its arrays have and one output.

    Returns:
        A model that takes the arrays by name, any number of samples (dimension ``samples``), and gives one float32
        output ``scores`` of shape (samples, columns).
    """
    import numpy as np
    import onnx

    # A recurrent net that was never called has no graph to export.
    model({name: np.zeros((1, *entry.shape[1:]), entry.dtype) for name, entry in model.input.items()}, training=False)
    with TemporaryDirectory() as folder:
        path = Path(folder) / "net.onnx"
        with warnings.catch_warnings():
            # Keras looks for a name that NumPy will take back one day; nothing that a reader could mend.
            warnings.filterwarnings("ignore", r".*`np\.object`", FutureWarning)
            model.export(path, format="onnx", opset_version=OPSET, verbose=False)
        made = onnx.load(path)
    _settle_twins(made.graph)
    _order(made.graph)
    _rename(made.graph)
    made.ir_version = IR_VERSION
    made.producer_name, made.producer_version, made.doc_string = "medai", "", ""
    onnx.checker.check_model(made)
    return bytes(made.SerializeToString(deterministic=True))


def _subgraphs(node: Any) -> Iterator[Any]:
    return (attribute.g for attribute in node.attribute if attribute.HasField("g"))


def _needs(node: Any) -> Iterator[str]:
    yield from node.input
    for graph in _subgraphs(node):
        yield from (output.name for output in graph.output)
        for inner in graph.node:
            yield from _needs(inner)


def _settle_twins(graph: Any) -> None:
    """Give the first of several equal outputs the value itself and the others its copies.

    A recurrent step's state is carried on and given out, and tf2onnx copies it for now the one, now the other.
    """
    copied = {node.output[0]: node.input[0] for node in graph.node if node.op_type == "Identity"}
    places = {output.name: place for place, output in enumerate(graph.output)}
    for value in {copied[name] for name in places if copied.get(name) in places}:
        first = min(place for name, place in places.items() if value in (name, copied.get(name)))
        one, other = graph.output[first], graph.output[places[value]]
        one.name, other.name = other.name, one.name
    for node in graph.node:
        for inner in _subgraphs(node):
            _settle_twins(inner)


def _order(graph: Any) -> None:
    """Put nodes in the order of need, depth first from the outputs; drop those that nothing needs."""
    nodes = list(graph.node)
    maker = {name: place for place, node in enumerate(nodes) for name in node.output if name}
    order: list[int] = []
    waiting = [output.name for output in reversed(graph.output)]
    while waiting:
        place = maker.get(waiting[-1])
        if place is None or place in order:
            waiting.pop()
            continue
        before = [name for name in _needs(nodes[place]) if name in maker and maker[name] not in (*order, place)]
        if before:
            waiting.extend(reversed(before))
        else:
            order.append(place)
    ordered = [type(nodes[place]).FromString(nodes[place].SerializeToString()) for place in order]
    del graph.node[:]
    graph.node.extend(ordered)
    for node in graph.node:
        for inner in _subgraphs(node):
            _order(inner)


def _rename(graph: Any) -> None:
    """Name values and nodes by their place; inputs keep their names, the output becomes ``scores``."""
    names: dict[str, str] = {"": "", graph.output[0].name: "scores"}
    names |= {entry.name: entry.name for entry in graph.input}

    def renamed(name: str) -> str:
        return names.setdefault(name, f"value_{len(names)}")

    def walk(part: Any, title: str) -> None:
        part.name, part.doc_string = title, ""
        if title != "net":
            for entry in part.input:
                entry.name = renamed(entry.name)
            for entry in (*part.input, *part.output):
                for dimension in entry.type.tensor_type.shape.dim:
                    dimension.ClearField("dim_param")  # a loop's own names of unknown sizes, numbered too
        for number, node in enumerate(part.node):
            node.name, node.doc_string = f"{title}/{node.op_type}_{number}", ""
            if not node.domain:
                node.ClearField("domain")  # said to be empty is not the same bytes as not said
            node.input[:] = [renamed(name) for name in node.input]
            node.output[:] = [renamed(name) for name in node.output]
            for inner in _subgraphs(node):
                walk(inner, node.name)
        for entry in (*part.output, *part.initializer):
            entry.name = renamed(entry.name)
        used = {name for node in part.node for name in _needs(node)} | {entry.name for entry in part.output}
        constants = sorted((entry for entry in part.initializer if entry.name in used), key=lambda entry: entry.name)
        constants = [type(entry).FromString(entry.SerializeToString()) for entry in constants]
        del part.initializer[:]
        part.initializer.extend(constants)
        del part.value_info[:]

    walk(graph, "net")
    for entry in (*graph.input, *graph.output):
        entry.type.tensor_type.shape.dim[0].dim_param = "samples"
