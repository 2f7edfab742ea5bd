"""A chain with a small contract on it, compiled for the purpose."""

import pytest
import vyper

from parwana.chain import keys
from parwana.chain.node import Chain
from parwana.devchain.server import DevChain

SOURCE = """
#pragma version 0.4.3
count: public(uint256)
event Counted:
    who: indexed(address)
    count: uint256
@external
@payable
def add(n: uint256):
    assert n > 0, "n must be above 0"
    assert n != 7
    self.count += n
    log Counted(who=msg.sender, count=self.count)
"""


@pytest.fixture(scope="module")
def node():
    with DevChain(block_interval_s=60) as chain:
        yield chain


@pytest.fixture(scope="module")
def counter(node):
    compiled = vyper.compile_code(SOURCE, output_formats=["abi", "bytecode"])
    chain = Chain(node.url, keys.dev_key(0))
    factory = chain.w3.eth.contract(abi=compiled["abi"], bytecode=compiled["bytecode"])
    receipt = chain.send(factory.constructor())
    return chain.w3.eth.contract(address=receipt["contractAddress"], abi=compiled["abi"])
