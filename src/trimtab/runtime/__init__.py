"""The loop that every controller turns in, and what it needs around it.

queue       which key is next: one place per key, priorities, delays, backoff
controller  the workers: a pass per key, and what follows from its outcome
lease       who may work: leadership, and how long it certainly lasts
finalizers  objects stay until what they made is cleaned up
status      the one guarded write to an object of ours
events      what people read in `kubectl events`: folded, bounded, never in the way
watchdog    finds objects that nobody has looked at
server      /healthz, /readyz and /metrics
counting    requests to the API server, by verb and answer
"""
