"""Files that the tests add to a copy of an app. They are no part of a sample.

contract_main.py   the app, and /contract/call, which runs a case inside a request
contract_cases.py  the cases: what an app may do with the Deferred API
contract_tasks.py  the functions they defer, which fail in chosen ways
queue.yaml         queues with limits, which no sample has
"""
