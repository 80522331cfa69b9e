"""The app's APIs: the SDK's stubs, their server. Imports cloud_tasks and all below."""
