import threading

from structlog.testing import capture_logs

from booking import best_effort_cache

KEY = "best-effort-cache-test"


def test_what_is_counted_may_be_forgotten_by_somebody_else_in_that_moment():
    done = threading.Event()

    def forget():
        while not done.is_set():
            best_effort_cache.forget(KEY)

    other = threading.Thread(target=forget)
    with capture_logs() as logs:
        other.start()
        counts = [best_effort_cache.count_up(KEY, 60) for _ in range(500)]
        done.set()
        other.join()
    assert min(counts) >= 1, "one that happened is not counted"
    assert logs == [], "nothing is the matter with the cache"
