"""Telling people and machines: from an event to the providers that Alerts name.

An event is journaled before it is acknowledged, matched against the Alerts, and becomes notices, one for each provider
it is for. Every provider has its own cursor: a dead one holds up nobody else.

How a provider is written. A provider is one small module `providers/<name>.py` and one line in `providers/table.py`,
found by `Provider.spec.type`. Most need one pure function:

    def compose(notice: Notice, settings: Settings) -> Request | Sequence[Request]:

It makes the request (or several, sent in order, as one delivery: all of them are sent again when one fails) from what
is to be told and from what the owner of the Provider wrote. Nothing (`()`) means that there is nothing to tell this
provider: that counts as delivered. What cannot work with these settings is `Misconfigured` with the field and the way
out, never with a value of the Secret. It asks no clock and makes no random values, so that a repeat is the same
request: `notice.key` is the key by which a receiver can know a repeat, and goes into the payload or a header wherever
the other side has a place for one.

The words of a notice come from strangers (messages of commits, names of branches). They are free of control
characters, ANSI and marks that reorder text when they get here (`event.clean`); what is special to the sink alone,
such as `<!channel>`, `@everyone` or a link in Markdown, is escaped by the provider's own module. What the sink limits
is cut there too, with `text.cut`.

If the other side says success or failure in its own way, the module adds

    def judge(answer: Answer) -> Outcome:

which otherwise is `provider.judge`: 2xx is delivered, 408, 425, 429 and 5xx are tried again (at the earliest when
Retry-After says), anything else is refused and tried no more.

What a signature says of the time is added by

    def sign(request: Request, settings: Settings, now: datetime) -> Request:

to each request just before it is sent, and is in nothing else.

A provider that needs a conversation (find or create a comment, NATS, SMTP) has instead of `compose`

    async def send(notice: Notice, settings: Settings, wire: Wire) -> Outcome:

and speaks through `wire` alone: `wire.ask(request)` for HTTP, `wire.connect(host, port, tls=…)` for another protocol.
Both go to checked addresses, with the certificates and within the time of the Provider, and raise `NoAnswer`, which
need not be caught. Redirects are not followed to other origins, answers are cut off at `MOST_ANSWER` bytes.

Pure are all modules but those that say otherwise in their first line.
"""
