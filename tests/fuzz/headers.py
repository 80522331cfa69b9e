"""Headers that are odd, forged, or none at all."""

from hypothesis import strategies as st

FORGED = "not-of-app-engine"

NAMES = st.one_of(
    st.sampled_from(
        [
            *("X-AppEngine-TaskName", "x_appengine_user_ip", "X-Google-A", "Host"),
            *("Content-Length", "Transfer-Encoding", "Connection", "Expect", "Cookie"),
            *("Upgrade", "TE", "Trailer", "Content-Encoding", "content_length", ""),
            *("X-AppEngine-TaskName ", " X-A", "X-AppEngine\tTaskName", "X-A:B"),
        ]
    ),
    st.text("xX-_aA:\t \x00é", max_size=12),
)
VALUES = st.one_of(
    st.just(FORGED),
    st.sampled_from(
        [
            *("0", "5", "-1", "5, 6", "0x5", "99999999999999999999", "chunked"),
            *("chunked, identity", "gzip", "close", "keep-alive, X-A", "upgrade"),
            *("100-continue", "localhost", "elsewhere.test", "h2c", "websocket", ""),
            *(f"a\r\nX-AppEngine-TaskName: {FORGED}", f"a\r X-AppEngine-A: {FORGED}"),
            f"a\n X-AppEngine-A: {FORGED}",
        ]
    ),
    st.text(max_size=20),
)
