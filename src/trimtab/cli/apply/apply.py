"""`trimtab apply`: the engine without custom resources, for pipelines and small clusters."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from trimtab.cli.connect import Options, cluster_options, perform
from trimtab.cli.render.rendering import Recipe, build_options

if TYPE_CHECKING:
    from trimtab.cli.apply.applying import Asked

_EXAMPLES = """\b
Examples:
  trimtab apply apps/shop --app shop -n team-a --prune
  trimtab apply deploy/overlays/production --app shop --prune --yes
  trimtab apply apps/shop --app shop --dry-run
  trimtab apply apps/shop --app shop --substitute REGION=eu-central-1 --age-key keys.txt
  trimtab apply https://git.example.org/team/shop --path deploy --branch main --app shop --prune --watch --yes
"""


@click.command("apply", epilog=_EXAMPLES)
@click.argument("origin", metavar="PATH|URL")
@click.option("--app", "name", required=True, help="The name of the app: what it has on record is kept under it.")
@click.option("--prune", is_flag=True, help="Delete what the app had applied and no longer declares.")
@click.option("--watch", is_flag=True, help="Stay: look for changes every --interval, and bring back what drifts.")
@click.option("--interval", default="60s", show_default=True, help="With --watch: how often to look for changes.")
@click.option("-y", "--yes", is_flag=True, help="Apply without asking. Without a terminal nothing is applied else.")
@click.option("--dry-run", is_flag=True, help="Only show what would be done. 2: something, 0: nothing.")
@click.option("--force", is_flag=True, help="Delete and create anew what cannot become what is declared.")
@click.option("--allow-empty", is_flag=True, help="With --prune: that nothing at all is declared is meant.")
@click.option(
    "--deletion-budget",
    metavar="NUMBER|SHARE%",
    default="",
    help="How much may be deleted at once (the greater of 10 objects and 20%).",
)
@click.option("--approve-prune", metavar="DIGEST", default="", help="Approve exactly the deletions that were held.")
@click.option("--take-over", metavar="APP", default="", help="Take what APP of this namespace has: its name before.")
@click.option(
    "--disregard",
    metavar="NAMESPACE/APP",
    multiple=True,
    help="With --prune: delete whatever the record of that app says. For a record that is of no app.",
)
@click.option("--path", "inside", default="", help="With a URL: the directory in the repository.")
@click.option("--branch", default="", help="With a URL: the branch to follow (main).")
@click.option("--tag", default="", help="With a URL: the tag to apply.")
@click.option("--commit", default="", help="With a URL: the commit to apply.")
@click.option("--git-secret", default="", help="With a URL: Secret of the namespace to sign in with, as for sources.")
@build_options
@cluster_options
def apply(
    options: Options,
    origin: str,
    name: str,
    prune: bool,
    watch: bool,
    interval: str,
    yes: bool,
    dry_run: bool,
    force: bool,
    allow_empty: bool,
    deletion_budget: str,
    approve_prune: str,
    take_over: str,
    disregard: tuple[str, ...],
    inside: str,
    branch: str,
    tag: str,
    commit: str,
    git_secret: str,
    recipe: Recipe,
) -> None:
    """Make a cluster equal to a directory once, or (--watch) again and again. No custom resources are needed.

    PATH is rendered as `trimtab build` does, a URL is fetched from git. What would change is shown, and asked for on a
    terminal. Then everything is judged by the server before anything is written, applied in order, and awaited until it
    is healthy (--timeout).

    What the app has applied is on record in a Secret of the namespace of -n, else of the kubeconfig's context; objects
    that name no namespace go there too. What leaves PATH stays, unless --prune deletes it, within the same limits as
    the controllers. A run that was killed is gone on with by the next.

    Exit codes: 0 all is as declared and healthy, 2 not, or deletions are held, 3 unknown (unreachable, forbidden), 1 an
    error, also that the server refuses an object.
    """
    from trimtab.base.durations import parse_duration
    from trimtab.cli.apply import agent, applying
    from trimtab.cli.apply.origin import Whence, is_url
    from trimtab.controllers.applyrecords import checked
    from trimtab.manifests.refs import Key
    from trimtab.targets.kubernetes.budget import Budget

    whence = Whence(branch, tag, commit, inside, git_secret)
    if is_url(origin):
        if recipe.root is not None:
            raise click.UsageError("--root is for a PATH: a repository has its own")
    elif any(whence):
        raise click.UsageError("--path, --branch, --tag, --commit and --git-secret go with a URL")
    elif not Path(origin).is_dir():
        raise click.UsageError(f"there is no directory {origin}")
    if watch and dry_run:
        raise click.UsageError("--dry-run looks once: leave out --watch")
    if (allow_empty or approve_prune or deletion_budget or disregard) and not prune:
        raise click.UsageError("--allow-empty, --approve-prune, --deletion-budget and --disregard go with --prune")
    if wrong_one := next((one for one in disregard if one.count("/") != 1), ""):
        raise click.UsageError(f"--disregard {wrong_one}: an app is named as NAMESPACE/APP")
    try:
        checked(name)
        checked(take_over or name)
        budget = Budget.parse(deletion_budget) if deletion_budget else Budget()
        interval_s = parse_duration(interval)
    except ValueError as wrong:
        raise click.UsageError(str(wrong)) from None
    if interval_s < agent.LEAST_INTERVAL_S:
        raise click.UsageError(f"--interval {interval}: {agent.LEAST_INTERVAL_S:g} s is the least")
    disregarded = frozenset(Key(*one.split("/")) for one in disregard)
    asked: Asked = applying.Asked(
        *(origin, whence, name, recipe, options, yes, dry_run),
        applying.Terms(prune, allow_empty, budget, approve_prune, force, options.timeout_s, None, disregarded),
        take_over,
    )
    if watch:
        perform(options, lambda client: agent.stay(client, asked, interval_s))
    else:
        perform(options, lambda client: applying.once(client, asked))
