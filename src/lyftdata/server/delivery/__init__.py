"""Delivery of audit events to other systems: webhooks, syslog, files."""
