"""Spares the app's process what the App Engine SDK does and the app does not need.

It runs in the app's process, on Python 3.7 or later. An app that the SDK alone serves
must find no difference, so an SDK that looks different from what a module expects
stays as it is.
"""

from . import api_calls, cloud_tasks, ndb_texts

change_api_calls = api_calls.change
delaying_cloud_tasks = cloud_tasks.delaying
remember_ndb_texts = ndb_texts.remember
