"""What needs an operator's attention: finding it, snoozing it, and delivering it as events. One module for each subject."""
