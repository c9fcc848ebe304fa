//! What is shipped around the program fits it: the image, the unit, the Debian package, the manifests, the workflows. What
//! can be tried on this machine is tried; what cannot is held against what the program and its configuration say.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use portcullis::config::{Config, Sources, load};
use serde_json::Value;
use tempfile::TempDir;

use super::support::gateway::Gateway;
use super::support::process::installed;
use super::support::realms::{Standard, api_key, key_digest};
use super::support::upstream::Upstream;

const BINARY: &str = env!("CARGO_BIN_EXE_portcullis");

const UNIT: &str = "packaging/systemd/portcullis.service";

/// The most that `systemd-analyze security` may find, in tenths; docs/operations.md tells of it.
const MOST_EXPOSED: u32 = 15;

/// What is done after the grace: the last lines of the log, answers of the admin listener.
const LAST: Duration = Duration::from_secs(5);

fn read(path: impl AsRef<Path>) -> String {
    let path = path.as_ref();
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The only document of a YAML file.
fn yaml(path: impl AsRef<Path>) -> Value {
    let path = path.as_ref();
    serde_yaml::from_str(&read(path)).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// Loads a configuration as a machine without its secrets does.
fn loaded(path: &Path) -> Config {
    load(path, &Sources { env: &|_| None, secrets: false }).unwrap_or_else(|problems| panic!("{problems}"))
}

/// How long a gateway with this configuration may take to stop.
fn time_to_stop(config: &Config) -> Duration {
    config.settings.shutdown_delay + config.settings.shutdown_grace + LAST
}

/// Files below a directory.
fn below(directory: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).unwrap_or_else(|error| panic!("{directory}: {error}")) {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            found.extend(below(path.to_str().expect("UTF-8")));
        } else {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// Values of a key in the unit, in their order.
fn unit(key: &str) -> Vec<String> {
    let text = read(UNIT);
    text.lines().filter_map(|line| line.strip_prefix(key)?.strip_prefix('=')).map(str::to_owned).collect()
}

/// The packaged configuration with a realm: alone it guards nothing, and does not load.
fn packaged() -> (TempDir, Config) {
    let directory = TempDir::new().expect("a directory");
    fs::create_dir(directory.path().join("realms")).expect("a directory");
    fs::copy("packaging/etc/portcullis.toml", directory.path().join("portcullis.toml")).expect("a file");
    let realm = "packaging/compose/config/realms/demo.toml";
    fs::copy(realm, directory.path().join("realms/demo.toml")).expect("a file");
    let config = loaded(directory.path());
    (directory, config)
}

#[test]
fn systemd_takes_the_unit_and_finds_little_to_complain_of() {
    if !installed("systemd-analyze", "systemd") {
        return;
    }
    let directory = TempDir::new().expect("a directory");
    let here = directory.path().join("portcullis.service");
    fs::write(&here, read(UNIT).replace("/usr/bin/portcullis", BINARY)).expect("a file");
    let verified = Command::new("systemd-analyze").arg("verify").arg(&here).output().expect("systemd-analyze");
    assert!(verified.status.success() && text(&verified).trim().is_empty(), "{}", text(&verified));

    let judged = Command::new("systemd-analyze")
        .args(["security", "--offline=true", "--no-pager", UNIT])
        .env("SYSTEMD_COLORS", "0")
        .output()
        .expect("systemd-analyze");
    let judged = text(&judged);
    let level = judged.split("Overall exposure level for portcullis.service: ").nth(1).expect("a level");
    let (whole, tenths) = level.split_whitespace().next().and_then(|level| level.split_once('.')).expect("a number");
    let level = whole.parse::<u32>().expect("a number") * 10 + tenths.parse::<u32>().expect("a number");
    assert!(level <= MOST_EXPOSED, "{judged}");
    let told = format!("at most {}.{}", MOST_EXPOSED / 10, MOST_EXPOSED % 10);
    assert!(read("docs/operations.md").contains(&told), "docs/operations.md does not say {told}");
}

#[test]
fn the_unit_starts_reloads_and_stops_the_gateway_as_its_configuration_says() {
    let (_directory, config) = packaged();
    assert_eq!(unit("ExecStart"), ["/usr/bin/portcullis serve --config /etc/portcullis"]);
    assert_eq!(unit("ExecReload"), ["/usr/bin/portcullis check --config /etc/portcullis", "/bin/kill -HUP $MAINPID"]);
    assert_eq!(unit("RestartPreventExitStatus"), ["2"]);
    let patience = unit("TimeoutStopSec")[0].trim_end_matches('s').parse().expect("seconds");
    assert!(Duration::from_secs(patience) > time_to_stop(&config), "it would be killed while requests run");
    // A store beside the unit's state directory would be on a file system that cannot be written.
    assert_eq!(unit("StateDirectory"), ["portcullis"]);
    assert!(read("packaging/etc/portcullis.toml").contains("\"sqlite:/var/lib/portcullis/portcullis.db\""));
    assert_eq!((unit("RuntimeDirectoryMode"), unit("StateDirectoryMode")), (vec!["0700".into()], vec!["0700".into()]));
    assert_eq!(unit("CapabilityBoundingSet"), ["CAP_NET_BIND_SERVICE"]);
}

#[test]
fn the_debian_package_finds_what_it_packs() {
    let manifest: toml::Table = read("Cargo.toml").parse().expect("TOML");
    let deb = &manifest["package"]["metadata"]["deb"];
    let mut targets = BTreeSet::new();
    for asset in deb["assets"].as_array().expect("assets") {
        let part = |n: usize| asset[n].as_str().expect("a text");
        let (source, target) = (part(0), part(1));
        if source.starts_with("target/release/") {
            assert_eq!((source, target), ("target/release/portcullis", "usr/bin/"), "the unit starts it there");
            continue;
        }
        let (directory, name) = source.rsplit_once('/').unwrap_or((".", source));
        let suffix = name.strip_prefix('*');
        let files: Vec<_> = fs::read_dir(directory)
            .expect("a directory")
            .map(|entry| entry.expect("an entry").file_name().into_string().expect("UTF-8"))
            .filter(|file| suffix.map_or(file == name, |suffix| file.ends_with(suffix)))
            .collect();
        assert!(!files.is_empty(), "{source} is not there");
        for file in files {
            assert!(targets.insert(format!("/{target}{file}")), "{target}{file} is packed twice");
        }
    }
    for file in deb["conf-files"].as_array().expect("conf-files") {
        assert!(targets.contains(file.as_str().expect("a text")), "{file} is not packed");
    }
    let units = &deb["systemd-units"];
    assert_eq!(
        PathBuf::from(units["unit-scripts"].as_str().expect("a text")).join("portcullis.service"),
        Path::new(UNIT)
    );
    assert_eq!(units["start"].as_bool(), Some(false), "it would not start: it guards nothing yet");
    for script in below(deb["maintainer-scripts"].as_str().expect("a text")) {
        assert!(read(&script).lines().any(|line| line == "#DEBHELPER#"), "{}", script.display());
        let parsed = Command::new("sh").arg("-n").arg(&script).output().expect("sh");
        assert!(parsed.status.success(), "{}", text(&parsed));
    }
}

#[test]
fn every_step_of_the_dockerfile_can_be_taken_and_its_command_serves() {
    let manifest: toml::Table = read("Cargo.toml").parse().expect("TOML");
    let version = manifest["package"]["rust-version"].as_str().expect("a version");
    assert!(read("Dockerfile").contains(&format!("FROM rust:{version}-")), "the Dockerfile builds with another Rust");
    if !installed("python3", "python3") {
        return;
    }
    let replayed = Command::new("scripts/replay-dockerfile").args(["--binary", BINARY]).output().expect("the script");
    assert!(replayed.status.success(), "{}", text(&replayed));
}

#[test]
fn the_manifests_ask_for_what_a_restricted_namespace_allows_and_no_more() {
    let deployment = yaml("packaging/kubernetes/deployment.yaml");
    let pod = &deployment["spec"]["template"]["spec"];
    let container = &pod["containers"][0];
    for (value, wanted) in [
        (&pod["securityContext"]["runAsNonRoot"], Value::from(true)),
        (&pod["securityContext"]["runAsUser"], 65532.into()),
        (&pod["securityContext"]["seccompProfile"]["type"], "RuntimeDefault".into()),
        (&pod["automountServiceAccountToken"], false.into()),
        (&pod["enableServiceLinks"], false.into()),
        (&container["securityContext"]["readOnlyRootFilesystem"], true.into()),
        (&container["securityContext"]["allowPrivilegeEscalation"], false.into()),
        (&container["securityContext"]["capabilities"]["drop"], vec!["ALL"].into()),
        (&container["volumeMounts"][0]["readOnly"], true.into()),
    ] {
        assert_eq!(*value, wanted);
    }
    assert!(read("Dockerfile").contains("USER 65532:65532"));
    for bound in ["cpu", "memory"] {
        assert!(
            container["resources"]["limits"][bound].is_string()
                && container["resources"]["requests"][bound].is_string()
        );
    }
    // Every object finds the pods, and the Service their port.
    let labels = &deployment["spec"]["template"]["metadata"]["labels"];
    let service = yaml("packaging/kubernetes/service.yaml");
    assert_eq!(service["spec"]["selector"], *labels);
    assert_eq!(deployment["spec"]["selector"]["matchLabels"], *labels);
    for other in ["poddisruptionbudget", "networkpolicy"] {
        let object = yaml(format!("packaging/kubernetes/{other}.yaml"));
        let spec = &object["spec"];
        let selector = spec.get("selector").or(spec.get("podSelector")).expect("a selector");
        assert_eq!(selector["matchLabels"], *labels, "{other}");
    }
    assert_eq!(service["spec"]["ports"][0]["targetPort"], container["ports"][0]["name"]);
    for directory in ["packaging/kubernetes", "packaging/kubernetes/monitoring"] {
        let listed = yaml(format!("{directory}/kustomization.yaml"));
        let mut resources: Vec<_> =
            listed["resources"].as_array().expect("a list").iter().map(|name| name.as_str()).collect();
        resources.sort_unstable();
        let mut files: Vec<_> = fs::read_dir(directory)
            .expect("a directory")
            .map(|entry| entry.expect("an entry").file_name().into_string().expect("UTF-8"))
            .filter(|name| name.ends_with(".yaml") && name != "kustomization.yaml")
            .collect();
        files.sort();
        assert_eq!(resources, files.iter().map(|name| Some(name.as_str())).collect::<Vec<_>>(), "{directory}");
    }
}

#[test]
fn the_manifests_give_the_gateway_the_files_secrets_and_time_that_it_wants() {
    let deployment = yaml("packaging/kubernetes/deployment.yaml");
    let pod = &deployment["spec"]["template"]["spec"];
    let container = &pod["containers"][0];
    let config = loaded(Path::new("packaging/kubernetes/config"));
    let grace = Duration::from_secs(pod["terminationGracePeriodSeconds"].as_u64().expect("seconds"));
    assert!(grace > time_to_stop(&config), "it would be killed while requests run");

    // The files of the ConfigMap are those of the directory, at the places that the gateway reads.
    let kustomization = yaml("packaging/kubernetes/kustomization.yaml");
    let mut mounted = BTreeSet::new();
    for item in pod["volumes"][0]["configMap"]["items"].as_array().expect("items") {
        let (key, path) = (item["key"].as_str().expect("a key"), item["path"].as_str().expect("a path"));
        let made = Value::from(format!("{key}=config/{path}"));
        assert!(kustomization["configMapGenerator"][0]["files"].as_array().expect("files").contains(&made), "{made}");
        mounted.insert(PathBuf::from("packaging/kubernetes/config").join(path));
    }
    assert_eq!(mounted.into_iter().collect::<Vec<_>>(), below("packaging/kubernetes/config"));

    // Every secret that the configuration names is in the environment, and none besides.
    let wanted = secrets_of("packaging/kubernetes/config");
    let given: BTreeSet<_> = container["env"]
        .as_array()
        .expect("env")
        .iter()
        .map(|one| one["name"].as_str().expect("a name").to_owned())
        .collect();
    assert_eq!(given, wanted);
    let manual = read("docs/operations.md");
    for one in container["env"].as_array().expect("env") {
        let key = one["valueFrom"]["secretKeyRef"]["key"].as_str().expect("of a Secret");
        assert!(manual.contains(&format!("--from-literal={key}=")), "docs/operations.md does not make {key}");
    }

    // The program knows the commands that it is probed with.
    for probe in ["startupProbe", "livenessProbe", "readinessProbe"] {
        let command: Vec<_> = container[probe]["exec"]["command"]
            .as_array()
            .expect("a command")
            .iter()
            .filter_map(Value::as_str)
            .collect();
        assert_eq!(command[0], "/usr/bin/portcullis");
        let nobody = format!("http://{}", unused_address());
        let ended = Command::new(BINARY).args(&command[1..]).args(["--admin", &nobody]).output().expect("the program");
        assert_eq!(ended.status.code(), Some(1), "{probe}: {}", text(&ended));
    }
}

/// Names in `{ env = "NAME" }`, of all files below a directory.
fn secrets_of(directory: &str) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for file in below(directory) {
        let text = read(&file);
        names.extend(text.split("env = \"").skip(1).filter_map(|rest| rest.split('"').next()).map(str::to_owned));
    }
    names
}

fn unused_address() -> std::net::SocketAddr {
    std::net::TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address")
}

#[test]
fn metrics_are_handed_to_whoever_has_the_key_of_prometheus_and_nothing_else_is() {
    let (upstream, standard) = (Upstream::start(), Standard::new());
    let watched = Gateway::standard(&standard, &upstream);
    let key = api_key("ops_");
    let realm = read("packaging/kubernetes/config/realms/operations.toml").replace("127.0.0.1:9901", "{admin}");
    let gw = Gateway::builder()
        .realm_toml(&realm)
        .place("admin", watched.admin_addr())
        .env("PROMETHEUS_KEY_SHA256", &key_digest(&key))
        .start();
    let get = |path: &str| gw.get(path).host("10.1.2.3:8080");
    let told = get("/metrics").bearer(&key).send().ok();
    assert!(told.text().contains("portcullis_build_info{"), "{told:?}");
    get("/metrics").send().denied("missing_credentials");
    for path in ["/readyz", "/livez", "/admin/v1/clients", "/metrics/", "/"] {
        get(path).bearer(&key).send().denied("no_route");
    }
    gw.call("POST", "/metrics").host("10.1.2.3:8080").bearer(&key).send().denied("method_not_allowed");
    let monitor = yaml("packaging/kubernetes/monitoring/servicemonitor.yaml");
    assert_eq!(monitor["spec"]["endpoints"][0]["path"], "/metrics");
    assert_eq!(monitor["spec"]["endpoints"][0]["authorization"]["type"], "Bearer");
}

#[test]
fn the_compose_file_serves_a_configuration_that_loads_and_mounts_what_is_there() {
    let compose = yaml("packaging/compose/compose.yml");
    let config = loaded(Path::new("packaging/compose/config"));
    let services = compose["services"].as_object().expect("services");
    let gateway = &services["gateway"];
    let grace = gateway["stop_grace_period"].as_str().and_then(|text| text.strip_suffix('s')?.parse().ok());
    assert!(
        Duration::from_secs(grace.expect("seconds")) > time_to_stop(&config),
        "it would be killed while requests run"
    );
    for (name, service) in services {
        assert!(
            service["image"].as_str().is_some_and(|image| image.contains(':') && !image.ends_with(":latest")),
            "{name}"
        );
        for port in service["ports"].as_array().into_iter().flatten() {
            assert!(
                port.as_str().is_some_and(|port| port.starts_with("127.0.0.1:")),
                "{name} is open to others: {port}"
            );
        }
        for volume in service["volumes"].as_array().into_iter().flatten() {
            let (source, target) = volume.as_str().and_then(|text| text.split_once(':')).expect("source:target");
            if source.starts_with('.') {
                assert!(Path::new("packaging/compose").join(source).exists(), "{name}: {source} is not there");
                assert!(target.ends_with(":ro"), "{name} may write {source}");
            } else {
                assert!(compose["volumes"].get(source).is_some(), "{name}: {source} is no volume");
            }
        }
    }
    assert_eq!(gateway["read_only"], true);
    // It is scraped where it listens, under the job that alerts and dashboard expect, and its rules are where they are mounted.
    assert_eq!(services["prometheus"]["network_mode"], "service:gateway");
    let prometheus = yaml("packaging/compose/prometheus.yml");
    let scrape = &prometheus["scrape_configs"][0];
    assert_eq!(scrape["job_name"], "portcullis");
    let gateway: toml::Table = read("packaging/compose/config/portcullis.toml").parse().expect("TOML");
    assert_eq!(scrape["static_configs"][0]["targets"][0].as_str(), gateway["admin"]["listen"]["address"].as_str());
    assert_eq!(prometheus["rule_files"][0], "alerts.yml");
    let provided = yaml("packaging/compose/grafana/provisioning/dashboards/portcullis.yml");
    let path = provided["providers"][0]["options"]["path"].as_str().expect("a path");
    let mounts = services["grafana"]["volumes"].as_array().expect("volumes");
    assert!(mounts.contains(&Value::from(format!("../../config/grafana:{path}:ro"))), "{mounts:?}");
    if installed("promtool", "prometheus") {
        let directory = TempDir::new().expect("a directory");
        for file in ["packaging/compose/prometheus.yml", "config/prometheus/alerts.yml"] {
            fs::copy(file, directory.path().join(Path::new(file).file_name().expect("a name"))).expect("a file");
        }
        let file = directory.path().join("prometheus.yml");
        let checked = Command::new("promtool").args(["check", "config"]).arg(file).output().expect("promtool");
        assert!(checked.status.success(), "{}", text(&checked));
    }
}

#[test]
fn workflows_may_read_only_and_use_actions_of_a_known_version() {
    let files = below(".github/workflows");
    assert!(files.len() >= 4, "{files:?}");
    for file in files {
        let (workflow, name) = (yaml(&file), file.display());
        assert_eq!(workflow["permissions"], serde_json::json!({ "contents": "read" }), "{name}");
        assert!(workflow["on"].is_object(), "{name}");
        for (job, told) in workflow["jobs"].as_object().expect("jobs") {
            assert!(told["timeout-minutes"].is_u64(), "{name}: {job} may run for ever");
            for step in told["steps"].as_array().expect("steps") {
                let Some(uses) = step["uses"].as_str() else { continue };
                let version = uses.split_once('@').map(|(_, version)| version).unwrap_or_default();
                let known =
                    version.strip_prefix('v').is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()));
                assert!(known, "{name}: {job}: {uses}");
            }
        }
    }
}
