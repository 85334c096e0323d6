"""PyTorch's nn.LSTM, last output, Dropout, Linear: on the first CUDA device if there is one, else on the CPU.

Precisions: float32; bfloat16 under autocast; on a CUDA device also tf32 and float16 under autocast, with a scaled loss,
and each with one captured CUDA graph a step (PRECISION_graph), which saves the launches.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

# Under autocast.
HALF = {"bfloat16": torch.bfloat16, "float16": torch.float16}
# The loss in float16 is multiplied by this, and its gradients divided, so that small ones do not become 0.
SCALE = 2.0**12


def build(
    data: dict[str, np.ndarray],
    batch: int,
    variant: str,
    dropout_rate: float,
    learning_rate: float,
    rho: float,
    epsilon: float,
) -> tuple[Callable[[], tuple[float, float]], Callable[[], None]]:
    """(loss and gradient norm on the first batch, one pass); raises ImportError if the variant needs CUDA."""
    precision, _, graph = variant.partition("_")
    on_cuda = torch.cuda.is_available()
    if not on_cuda and (graph or precision in ("tf32", "float16")):
        raise ImportError(f"{variant} needs a CUDA device")
    device = torch.device("cuda" if on_cuda else "cpu")
    torch.set_num_threads(2)
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = precision == "tf32"
    units, columns = data["recurrent_kernel"].shape[0], data["y"].shape[1]
    rnn: Any = torch.nn.LSTM(columns, units, batch_first=True)
    dropout, dense = torch.nn.Dropout(dropout_rate), torch.nn.Linear(units, columns)
    with torch.no_grad():  # gate order is i, f, g, o in both
        rnn.weight_ih_l0.copy_(torch.from_numpy(data["kernel"].T.copy()))
        rnn.weight_hh_l0.copy_(torch.from_numpy(data["recurrent_kernel"].T.copy()))
        rnn.bias_ih_l0.copy_(torch.from_numpy(data["bias"]))
        rnn.bias_hh_l0.zero_()
        dense.weight.copy_(torch.from_numpy(data["dense_kernel"].T.copy()))
        dense.bias.copy_(torch.from_numpy(data["dense_bias"]))
    rnn, dense = rnn.to(device), dense.to(device)
    parameters = [*rnn.parameters(), *dense.parameters()]
    optimizer = torch.optim.RMSprop(parameters, lr=learning_rate, alpha=rho, eps=epsilon, capturable=bool(graph))
    x, y = torch.from_numpy(data["x"]).to(device), torch.from_numpy(data["y"]).to(device)

    def loss(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        low = HALF.get(precision)
        with torch.autocast(device.type, low) if low else contextlib.nullcontext():
            outputs = dense(dropout(rnn(x)[0][:, -1]))
        return ((outputs.float() - y) ** 2).mean()

    def backward(value: torch.Tensor) -> None:
        if precision != "float16":
            value.backward()
            return
        (SCALE * value).backward()
        torch._foreach_mul_([p.grad for p in parameters], 1 / SCALE)

    def check() -> tuple[float, float]:
        dropout.eval()
        value = loss(x[:batch], y[:batch])
        backward(value)
        # PyTorch has two biases where the others have one: their gradients are equal, so only one counts.
        squares = [float((p.grad.double() ** 2).sum()) for p in parameters if p is not rnn.bias_hh_l0]
        dropout.train()
        return float(value.detach()), sum(squares) ** 0.5

    def update(x: torch.Tensor, y: torch.Tensor) -> None:
        optimizer.zero_grad(set_to_none=True)
        backward(loss(x, y))
        optimizer.step()

    @functools.cache
    def step() -> Callable[[torch.Tensor, torch.Tensor], None]:  # after the check, since capturing changes the weights
        return _captured(update, x[:batch], y[:batch]) if graph else update

    def train() -> None:
        order = torch.randperm(len(x), device=device)
        for start in range(0, len(x), batch):
            chosen = order[start : start + batch]
            if graph and len(chosen) < batch:
                continue  # a graph has one shape
            step()(x[chosen], y[chosen])
        if on_cuda:
            torch.cuda.synchronize()

    return check, train


def _captured(
    update: Callable[[torch.Tensor, torch.Tensor], None], x: torch.Tensor, y: torch.Tensor
) -> Callable[[torch.Tensor, torch.Tensor], None]:
    """The update as one CUDA graph, after the three runs on another stream that capturing requires."""
    x_static, y_static = x.clone(), y.clone()
    beside = torch.cuda.Stream()
    beside.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(beside):
        for _ in range(3):
            update(x_static, y_static)
    torch.cuda.current_stream().wait_stream(beside)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        update(x_static, y_static)

    def step(x: torch.Tensor, y: torch.Tensor) -> None:
        x_static.copy_(x)
        y_static.copy_(y)
        graph.replay()

    return step
