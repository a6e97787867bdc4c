"""
A Celery app whose workers log in to RabbitMQ with their Worker identity.

    lyftdata run worker -- celery --app celeryapp worker --without-gossip --without-mingle --without-heartbeat
"""

import os
import time

from celery import Celery
from kombu import Exchange, Queue

from lyftdata.client import TokenKeeper, WorkerAuthError

WORKER_ID = os.environ["LYFTDATA_WORKER_ID"]
TOKENS = TokenKeeper.from_environment(resource="rabbitmq")


def broker_password() -> str:
    """Return the Worker's token for the broker; kombu calls this for each connection, so the token is never expired."""
    try:
        return TOKENS.get()
    except WorkerAuthError as error:
        # Celery retries only after connection errors.
        raise ConnectionError(str(error)) from error


app = Celery("celeryapp", broker=os.environ.get("BROKER_URL", "amqp://127.0.0.1:5672/jobs"))
app.conf.update(
    broker_user=WORKER_ID,
    broker_password=broker_password,
    broker_login_method="PLAIN",
    broker_connection_retry_on_startup=True,
    broker_connection_max_retries=None,
    # Publisher confirms, and acknowledgement only after a task has finished: if a Worker is disconnected, its tasks go to another one.
    # So a task may start twice but is never lost.
    broker_transport_options={"confirm_publish": True},
    task_acks_late=True,
    task_reject_on_worker_lost=True,
    worker_cancel_long_running_tasks_on_connection_loss=True,
    worker_prefetch_multiplier=1,
    # Remote control needs extra queues, which a Worker may not use and does not need.
    worker_enable_remote_control=False,
    task_ignore_result=True,
    worker_redirect_stdouts=False,
    # Send everything through one exchange: by default Celery uses the broker's default exchange, and a client that may write to that
    # one can write to every queue of the virtual host.
    task_queues=[Queue("celery", Exchange("celery"), routing_key="celery")],
    task_routes={"*": {"exchange": "celery", "routing_key": "celery"}},
)


@app.task(name="press")
def press(number: int, seconds: float = 0.2) -> None:
    """Simulate a task that takes a while."""
    print(f"{WORKER_ID} started {number}", flush=True)
    time.sleep(seconds)
    print(f"{WORKER_ID} finished {number}", flush=True)
