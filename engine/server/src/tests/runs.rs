//! Invalid requests to the routes of runs: control, history, export and import, and idempotency keys.

use super::*;

/// Status, kind of problem, method, path, code of the headers, body. `RUN` is the id of a run that does not exist.
const REFUSED: &str = r#"
422 invalid-request     POST /v1/runs/RUN/cancel   json   {"grace":"soon"}
422 invalid-request     POST /v1/runs/RUN/cancel   json   {"grace":"61m"}
415 wrong-content-type  POST /v1/runs/RUN/cancel   none   {}
404 no-such-run         POST /v1/runs/RUN/cancel   none
404 no-such-run         POST /v1/runs/RUN/pause    none
422 invalid-request     POST /v1/runs/RUN/pause    json   {"why":"no"}
400 bad-json            POST /v1/runs/RUN/pause    json   {
404 no-such-run         POST /v1/runs/RUN/resume   none
422 invalid-request     POST /v1/runs/RUN/resume   json   {"now":1}
404 no-such-run         POST /v1/runs/RUN/retry    json   {}
422 invalid-request     POST /v1/runs/RUN/retry    json   7
404 no-such-run         POST /v1/runs/RUN/upgrade  none
422 invalid-request     POST /v1/runs/RUN/upgrade  json   {"graph":7}
400 bad-id              POST /v1/runs/7/retry      none
405 method-not-allowed  GET  /v1/runs/RUN/pause    none
404 no-such-run         POST /v1/runs/RUN/fork     json   {"step":1}
415 wrong-content-type  POST /v1/runs/RUN/fork     none
422 invalid-request     POST /v1/runs/RUN/fork     json   {}
422 invalid-request     POST /v1/runs/RUN/fork     json   {"step":-1}
422 invalid-request     POST /v1/runs/RUN/fork     json   {"step":1,"state":[]}
404 no-such-run         GET  /v1/runs/RUN/steps    none
400 bad-query           GET  /v1/runs/RUN/steps?limit=0     none
400 bad-query           GET  /v1/runs/RUN/steps?limit=1001  none
404 no-such-run         GET  /v1/runs/RUN/steps/3           none
400 bad-request         GET  /v1/runs/RUN/steps/last        none
400 bad-id              GET  /v1/runs/7/steps/3             none
400 bad-query           GET  /v1/runs/RUN/diff?from=1       none
404 no-such-run         GET  /v1/runs/RUN/diff?from=1&to=2  none
404 no-such-run         GET  /v1/runs/RUN/export   none
415 wrong-content-type  POST /v1/runs:import       json   {}
422 malformed-export    POST /v1/runs:import       lines
422 malformed-export    POST /v1/runs:import       lines  {"heddle_run":1}
413 too-large           POST /v1/runs:import       lines  {"a body of more than a hundred bytes":"which is more than the setting allows, and so is read to its end and thrown away, whatever it is"}
422 invalid-request     POST /v1/runs              json   {"graph":"g","priority":101}
422 invalid-request     POST /v1/runs              json   {"graph":"g","priority":"high"}
404 no-such-graph       POST /v1/runs              key    {"graph":"g","priority":-100}
400 bad-key             POST /v1/runs              words  {"graph":"g"}
400 bad-key             POST /v1/runs/RUN/signal   empty  {"name":"go"}
400 bad-key             POST /v1/runs/RUN/fork     long   {"step":1}
400 bad-key             POST /graph/run            twice  {"graph_id":"g"}
"#;

#[tokio::test]
async fn each_invalid_request_to_a_run_gets_a_problem() {
    let server = Server::start(ServerSettings {
        max_import_bytes: 100,
        ..ServerSettings::default()
    })
    .await;
    let json = "\r\nContent-Type: application/json";
    let key = |key: &str| format!("{json}\r\nIdempotency-Key:{key}");
    for line in REFUSED.trim().lines() {
        let mut words = line.split_whitespace();
        let mut next = || words.next().unwrap_or_default();
        let (status, slug, method, path, headers) = (next(), next(), next(), next(), next());
        let headers = match headers {
            "json" => json.to_owned(),
            "lines" => "\r\nContent-Type: application/x-ndjson".to_owned(),
            "key" => key("order-7"),
            "words" => key("order 7"),
            "empty" => key(""),
            "long" => key(&"k".repeat(256)),
            "twice" => key("order-7\r\nIdempotency-Key: order-7"),
            _ => String::new(),
        };
        let path = path.replace("RUN", "01a20505-02ed-773b-a8ec-000000000000");
        let body = words.collect::<Vec<_>>().join(" ");
        let answer = server
            .ask(&format!("{method} {path} HTTP/1.1{headers}"), &body)
            .await;
        assert_problem(&answer, status.parse().expect("a status"), slug);
    }
}
