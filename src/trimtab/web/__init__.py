"""What answers calls from outside the cluster: the webhooks of forges and registries.

delivery    one call as a value, and the one way to refuse it
signatures  HMACs and shared tokens, compared in constant time
senders     the thirteen kinds of callers: how each proves itself, and what it sends
identities  callers that prove themselves by a token of an issuer
payloads    what a body has to be read as
filters     CEL over what was sent and what may be asked for a look
pace        how often anybody may call
fresh       what is asked for once, however many wait for it
hooks       which Receiver a path belongs to, and the Secret behind it
targets     the objects that a Receiver names
hints       asks objects for a look, once for many calls
reception   the story of one delivery
server      the socket, and the limits of what may come through it
"""
