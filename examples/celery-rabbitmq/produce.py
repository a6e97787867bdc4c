"""Send two tasks a second with this Worker's identity: `lyftdata run worker -- python produce.py`."""

import itertools
import time

from celeryapp import press

for number in itertools.count(1):
    press.delay(number)
    time.sleep(0.5)
