//! The OpenAPI document, and Swagger UI that shows it.

use axum::Router;
use axum::extract::Request;
use axum::http::{HeaderValue, header};
use axum::middleware::{Next, from_fn};
use axum::response::Response;
use utoipa::openapi::security::{ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{RefOr, Schema};
use utoipa::{Modify, OpenApi};
use utoipa_swagger_ui::{Config, SwaggerUi};

use super::Limits;

/// Content security policy of Swagger UI. Its script sets inline styles, and its images are `data:` URLs.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; \
connect-src 'self'; font-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

#[derive(OpenApi)]
#[openapi(
    info(
        title = "DeepSight",
        description = "Detects deepfakes: send a video or picture, and get a verdict with its reasons.\n\n\
            Errors are RFC 9457 problems: match on `type`, and show `detail`. Times are RFC 3339 in UTC, \
            probabilities lie between 0 and 1, and boxes are in pixels of the upright frame.\n\n\
            The verdict is an estimate of a trained model: a reason to look closer, not proof. `/v1/model` has the \
            model's terms of use.",
        license(name = "MIT", identifier = "MIT"),
    ),
    servers((url = "/", description = "This server")),
    tags(
        (name = "predict", description = "Analyze within one request"),
        (name = "analyses", description = "Analyses that are queued and stored, with their reports"),
        (name = "uploads", description = "Uploads in parts, which go on after a lost connection (tus 1.0)"),
        (name = "pictures", description = "Faces and frames of an analysis, and its video"),
        (name = "shares", description = "Links that show an analysis without a key"),
        (name = "keys", description = "API keys, for admins"),
        (name = "session", description = "Sessions of browsers"),
        (name = "service", description = "The server itself"),
    ),
    components(schemas(super::events::StatusEvent, super::events::FacesEvent)),
    security(("bearer" = []), ("key" = []), ("session" = []), ()),
    modifiers(&Schemes),
)]
struct Head;

struct Schemes;

impl Modify for Schemes {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        let components = document.components.get_or_insert_default();
        let bearer = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).description(Some("An API key"));
        components.add_security_scheme("bearer", SecurityScheme::Http(bearer.build()));
        let header = ApiKeyValue::with_description("X-API-Key", "An API key");
        components.add_security_scheme("key", SecurityScheme::ApiKey(ApiKey::Header(header)));
        let cookie = ApiKeyValue::with_description(super::guard::COOKIE, "The cookie that `POST /v1/session` sets");
        components.add_security_scheme("session", SecurityScheme::ApiKey(ApiKey::Cookie(cookie)));
    }
}

/// Returns the document without its paths, which the routes add.
pub(super) fn head() -> utoipa::openapi::OpenApi {
    Head::openapi()
}

/// Writes the limits of this server's configuration into the document.
fn with_limits(document: &mut utoipa::openapi::OpenApi, limits: &Limits) {
    let operations = document.paths.paths.values_mut().filter_map(|path| path.post.as_mut());
    for parameter in operations.filter_map(|operation| operation.parameters.as_mut()).flatten() {
        let RefOr::T(parameter) = parameter else { continue };
        if let ("frames", Some(RefOr::T(Schema::Object(schema)))) = (parameter.name.as_str(), &mut parameter.schema) {
            schema.maximum = Some((limits.max_frames as usize).into());
        }
    }
}

/// Returns the routes `/openapi.json` and `/docs`.
pub(super) fn pages(mut document: utoipa::openapi::OpenApi, limits: &Limits) -> Router {
    with_limits(&mut document, limits);
    // The address's query must not configure Swagger UI: a foreign link could then choose what "Try it out" sends.
    let config = Config::from("/openapi.json").query_config_enabled(false).persist_authorization(false);
    let pages = SwaggerUi::new("/docs").url("/openapi.json", document).config(config);
    Router::new().merge(pages).layer(from_fn(allow))
}

async fn allow(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    response
}
