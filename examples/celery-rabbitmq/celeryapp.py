"""
A Celery app whose workers log in at RabbitMQ as the Workers that they are.

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
    """Return the Worker's token for the broker; kombu asks at each connection, so that it has not expired."""
    try:
        return TOKENS.get()
    except WorkerAuthError as error:
        # Celery tries again after errors of connecting, and after no others.
        raise ConnectionError(str(error)) from error


app = Celery("celeryapp", broker=os.environ.get("BROKER_URL", "amqp://127.0.0.1:5672/jobs"))
app.conf.update(
    broker_user=WORKER_ID,
    broker_password=broker_password,
    broker_login_method="PLAIN",
    broker_connection_retry_on_startup=True,
    broker_connection_max_retries=None,
    # A message counts as sent when the broker has it, and as done when its task is: what a Worker held that was cut off goes to another
    # one. So a task may be begun twice, and is never lost.
    broker_transport_options={"confirm_publish": True},
    task_acks_late=True,
    task_reject_on_worker_lost=True,
    worker_cancel_long_running_tasks_on_connection_loss=True,
    worker_prefetch_multiplier=1,
    # Queues of its own, for control and events: a Worker has no right to them and does not need them.
    worker_enable_remote_control=False,
    task_ignore_result=True,
    worker_redirect_stdouts=False,
    # Everything goes through one exchange: by default Celery sends through the broker's nameless one, and who may write there can
    # write to every queue of the virtual host.
    task_queues=[Queue("celery", Exchange("celery"), routing_key="celery")],
    task_routes={"*": {"exchange": "celery", "routing_key": "celery"}},
)


@app.task(name="press")
def press(number: int, seconds: float = 0.2) -> None:
    """Do something that takes a while."""
    print(f"{WORKER_ID} begins {number}", flush=True)
    time.sleep(seconds)
    print(f"{WORKER_ID} has done {number}", flush=True)
