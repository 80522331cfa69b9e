"""What the samples promise, and the commands; devserver/tests has the dev server's."""

import pytest

# A failed assert shows its values there too, as in a test module.
pytest.register_assert_rewrite("tests.routes", "tests.realtime")
