"""Charts that want out, given to the real helm: what they ask for is not there, and what they may not be is refused."""

import pytest

from tests.charts.world import chart_yaml, tgz
from tests.helm.conftest import config, seen, wish
from trimtab.base.confined import Bounds
from trimtab.base.errors import Terminal, Transient
from trimtab.base.process import Limits
from trimtab.helm.output import parts
from trimtab.helm.template import Template
from trimtab.sources.charts import chart as charts


@pytest.mark.parametrize(
    "call",
    [
        'env "HOME"',
        'expandenv "$HOME"',
        'exec "id"',
        'shell "id"',
        'readFile "/etc/passwd"',
        'readDir "/"',
        'getHostName "X"',
    ],
)
async def test_there_is_no_function_that_leads_to_the_machine(render, call):
    with pytest.raises(Terminal, match=rf'app/templates/a\.yaml:6\): function "{call.split()[0]}" not defined'):
        await render({"a.yaml": config(f"'{{{{ {call} }}}}'")})


@pytest.mark.parametrize(
    "call",
    [
        '.Files.Get "../home/kubeconfig"',
        '.Files.Get "/proc/self/environ"',
        '.Files.Get "../../../../etc/passwd"',
        '.Files.Get "Chart.yaml"',
        '.Files.Get "templates/a.yaml"',
        '.Files.Lines "/etc/passwd" | join ","',
        '(.Files.Glob "../**").AsConfig | trim',
        '(.Files.Glob "/etc/*").AsSecrets | trim',
        'tpl (.Files.Get "/etc/passwd") .',
    ],
)
async def test_files_are_those_of_the_chart_alone(render, call):
    found = await seen(render({"a.yaml": config(f"'{{{{ {call} }}}}'"), "docs/own.txt": "x"}))
    assert found in ("", "{}")


@pytest.mark.parametrize("link", ["templates/a.yaml", "crds/a.yaml", "charts/sub/Chart.yaml", "values.yaml"])
async def test_a_link_where_helm_looks_is_refused_by_name(template, store, link):
    packed = tgz({"app/Chart.yaml": chart_yaml("app", "1.0.0")}, links={f"app/{link}": "/etc/passwd"})
    chart = charts.of_archive(store, charts.unpack(store, packed, "app"), "app")
    with pytest.raises(Terminal, match=rf"{link} of the chart is a link.*replace it by a plain file"):
        await template.render(store, chart, wish())


async def test_a_link_that_a_template_may_read_is_refused_and_another_is_not(template, store):
    links = {"app/LICENSE": "/etc/passwd"}
    files = {"app/Chart.yaml": chart_yaml("app", "1.0.0"), "app/templates/a.yaml": config("fine")}
    chart = charts.of_archive(store, charts.unpack(store, tgz(files, links=links), "app"), "app")
    assert await seen(template.render(store, chart, wish())) == "fine"
    files["app/templates/b.yaml"] = '{{ .Files.Get "LICENSE" }}'
    chart = charts.of_archive(store, charts.unpack(store, tgz(files, links=links), "app"), "app")
    with pytest.raises(Terminal, match="LICENSE of the chart is a link"):
        await template.render(store, chart, wish())


@pytest.mark.parametrize("name", ["..", "../../evil", "a/b", "."])
async def test_a_subchart_whose_name_is_a_path_is_refused(render, name):
    files = {"charts/sub/Chart.yaml": f"apiVersion: v2\nname: '{name}'\nversion: 1.0.0\n"}
    with pytest.raises(Terminal, match=r'validation: chart\.metadata\.name ".*" is (invalid|not allowed)'):
        await render({"a.yaml": config("x"), "charts/sub/templates/a.yaml": config("evil"), **files})


@pytest.mark.parametrize("alias", ["../../evil", "a/b", "a\\nb"])
async def test_a_dependency_whose_alias_is_a_path_is_refused(render, alias):
    files = {"charts/sub/Chart.yaml": "apiVersion: v2\nname: sub\nversion: 1.0.0\n"}
    more = f'dependencies:\n- {{name: sub, version: 1.0.0, alias: "{alias}"}}\n'
    with pytest.raises(Terminal, match=r"alias"):
        await render({"a.yaml": config("x"), "charts/sub/templates/a.yaml": config("evil"), **files}, more=more)


@pytest.mark.parametrize(
    "repository",
    [
        "s3://bucket",
        "file://../../other",
        "alias:name",
        "'@name'",
        "https://127.0.0.1:1/x",
        "oci://127.0.0.1:1/x",
        "ext::x",
    ],
)
async def test_a_dependency_that_is_not_there_is_not_fetched(render, repository):
    more = f"dependencies:\n- {{name: far, version: 1.0.0, repository: {repository}}}\n"
    with pytest.raises(Terminal, match=r"missing in charts/ directory: far|name|repository"):
        await render({"a.yaml": config("x")}, more=more)


async def test_plugins_and_post_renderers_in_a_chart_are_files_like_others(render, tmp_path):
    ran = tmp_path / "ran"
    plugin = f"name: evil\nversion: 1.0.0\nusage: x\ndescription: x\ncommand: /bin/sh -c 'touch {ran}'\n"
    files = {"/plugin.yaml": plugin, "plugins/evil/plugin.yaml": plugin, "/.helm/plugins/evil/plugin.yaml": plugin}
    assert await seen(render({"a.yaml": config("x"), **files})) == "x"
    assert not ran.exists()


@pytest.mark.parametrize(
    "call",
    [
        'genPrivateKey "ecdsa"',
        '(genCA "x" 1).Cert',
        '(genSelfSignedCert "x" nil nil 1).Key',
        "randAlphaNum 9",
        "uuidv4",
        "now | unixEpoch",
        'now | date "05.000000000"',
        'htpasswd "a" "b"',
        'derivePassword 1 "long" (randAlpha 9) "b" "c"',
        'shuffle "abcdefghijklmnopqrstuvwxyz"',
    ],
)
async def test_functions_of_chance_and_of_time_are_seen_and_end_in_no_error(render, call):
    found = await render({"a.yaml": config(f"{{{{ {call} | quote }}}}")})
    if call != "now | unixEpoch":  # it may be the same second
        assert found.varies == ("app/templates/a.yaml",)


async def test_values_that_are_templates_without_an_end_end(render, helm_binary, tmp_path):
    small = Limits(memory_bytes=2_048 << 20, cpu_s=10, offline=True)
    bounded = Template(helm_binary, tmp_path / "bounded", Bounds(timeout_s=10, limits=small))
    with pytest.raises((Terminal, Transient)) as ended:
        await render({"a.yaml": config("{{ tpl .Values.t . }}")}, {"t": "{{ tpl .Values.t . }}"}, template=bounded)
    assert ended.value.reason == "BuildFailed"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('{{ repeat 100000 "[" | fromJson | toYaml }}', "exceeded max depth"),
        ('{{ repeat 20000 "{a: " | fromYaml | toJson }}', "exceeded max depth"),
    ],
    ids=["json", "yaml"],
)
async def test_what_is_nested_deeper_than_anybody_writes_is_an_error_to_the_template(render, text, says):
    assert says in await seen(render({"a.yaml": config(f"{text} | quote".replace(" }} |", " |") + " }}")}))


async def test_a_template_nested_deeper_than_anybody_writes_is_refused(render):
    with pytest.raises(Terminal, match=r"helm cannot render|helm crashed"):
        await render({"a.yaml": config("{{ " + "(" * 100_000)})


async def test_values_nested_300_levels_deep_are_values(render):
    values: dict = {}
    for _ in range(300):
        values = {"a": values}
    assert await seen(render({"a.yaml": config("{{ .Values | toJson | len | quote }}")}, values)) == str(300 * 6 + 2)


async def test_a_template_cannot_pass_off_its_objects_as_definitions_or_as_anothers(render):
    other = "---\n# Source: app/crds/evil.yaml\n" + config("evil").replace("{{ .Release.Name }}", "evil")
    found = await render({"a.yaml": config("x") + other, "b.yaml": config("y")})
    assert found.crds == ()
    assert [part.path for part in parts(found.output.manifest)] == [f"app/templates/{one}.yaml" for one in "aab"]


async def test_a_hook_for_no_event_that_there_is_does_not_run_and_is_no_object(render):
    hook = config("x").replace("}}\n", "}}-hook\n  annotations: {helm.sh/hook: on-full-moon}\n", 1)
    found = await render({"a.yaml": config("x"), "h.yaml": hook})
    assert (len(found.manifests), found.output.hooks) == (1, ())


async def test_an_object_that_asks_kustomize_to_run_a_program_is_an_object(render):
    function = 'config.kubernetes.io/function: "exec: {path: /bin/false}"'
    text = config("x").replace("}}\n", f"}}}}\n  annotations:\n    {function}\n", 1)
    [found] = (await render({"a.yaml": text})).manifests
    assert found.body["metadata"]["annotations"] == {"config.kubernetes.io/function": "exec: {path: /bin/false}"}
