"""The table of API calls and their messages."""

import pytest
from google.appengine.api import memcache, modules, urlfetch
from google.appengine.api.taskqueue import taskqueue

from gae_devserver.services import rpc_table

CALLS = [
    (service, method)
    for service, methods in rpc_table.services().items()
    for method in methods
]


def test_it_has_every_service_once_and_every_method_once() -> None:
    """There are 14 services; `test_services` holds the methods against the stubs."""
    assert len(rpc_table.services()) == 14
    assert len(CALLS) == len(set(CALLS))


@pytest.mark.parametrize(("service", "method"), CALLS)
def test_every_call_has_two_message_classes(service: str, method: str) -> None:
    """Both classes exist, can be made, and can be read back."""
    for message_class in rpc_table.message_classes(service, method):
        empty = message_class().SerializePartialToString()
        assert message_class.FromString(empty) == message_class()


def test_the_messages_are_those_of_the_client() -> None:
    """The classes are the very ones that the SDK's client modules use."""
    of = rpc_table.message_classes
    assert of("memcache", "Get") == (
        memcache.MemcacheGetRequest,
        memcache.MemcacheGetResponse,
    )
    assert of("urlfetch", "Fetch") == (
        urlfetch.urlfetch_service_pb2.URLFetchRequest,
        urlfetch.urlfetch_service_pb2.URLFetchResponse,
    )
    assert of("taskqueue", "BulkAdd") == (
        taskqueue.taskqueue_service_pb2.TaskQueueBulkAddRequest,
        taskqueue.taskqueue_service_pb2.TaskQueueBulkAddResponse,
    )
    assert of("modules", "GetHostname")[0] is (
        modules.modules_service_pb2.GetHostnameRequest
    )


@pytest.mark.parametrize(
    ("service", "method", "words"),
    [
        ("nosuch", "Get", "no service 'nosuch'"),
        ("memcache", "NoSuch", "service 'memcache' has no method 'NoSuch'"),
        ("memcache", "get", "no method 'get'"),
        ("memcache", "", "no method ''"),
        ("", "", "no service ''"),
        ("taskqueue", "SetUpStub", "no method 'SetUpStub'"),
    ],
)
def test_an_unknown_call_is_named(service: str, method: str, words: str) -> None:
    """The error says whether the service or the method is unknown.

    `SetUpStub` is there in the stub, and unpickles what it is sent.
    """
    with pytest.raises(LookupError) as error:
        rpc_table.message_classes(service, method)
    assert words in error.value.args[0]
