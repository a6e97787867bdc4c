"""The Server: who gets in (admission), what operators do (fleet), who is connected (sessions), and the routes to it."""
