//! What an application has to say about requests, before and beside its namespaces.

use std::pin::Pin;

use http::HeaderMap;
use http::request::Parts;
use synapse_engine::{ConnectionError, RequestHead};
use synapse_protocol::SessionId;

/// A decision that may take its time; the text of a refusal reaches the client.
pub(crate) type Decision = Pin<Box<dyn Future<Output = Result<(), String>> + Send>>;

/// How handshakes are decided about.
pub(crate) enum AllowRequest {
    AtOnce(Box<Decide<Result<(), String>>>),
    Later(Box<Decide<Decision>>),
}

type Decide<T> = dyn Fn(&RequestHead) -> T + Send + Sync;
type AddHeaders = dyn Fn(&Parts, &mut HeaderMap) + Send + Sync;
type Tell = dyn Fn(&Parts, &ConnectionError) + Send + Sync;

/// The hooks of one server. Those that are not set cost a look at an option.
#[derive(Default)]
pub(crate) struct Hooks {
    pub(crate) allow_request: Option<AllowRequest>,
    pub(crate) generate_id: Option<Box<Decide<SessionId>>>,
    pub(crate) initial_headers: Option<Box<AddHeaders>>,
    pub(crate) headers: Option<Box<AddHeaders>>,
    pub(crate) connection_error: Option<Box<Tell>>,
}

impl Hooks {
    pub(crate) async fn allow(&self, request: &RequestHead) -> Result<(), String> {
        match &self.allow_request {
            None => Ok(()),
            Some(AllowRequest::AtOnce(decide)) => decide(request),
            Some(AllowRequest::Later(decide)) => decide(request).await,
        }
    }

    pub(crate) fn generate_id(&self, request: &RequestHead) -> Option<SessionId> {
        self.generate_id.as_ref().map(|generate| generate(request))
    }

    pub(crate) fn initial_headers(&self, request: &Parts, headers: &mut HeaderMap) {
        if let Some(hook) = &self.initial_headers {
            hook(request, headers);
        }
    }

    pub(crate) fn headers(&self, request: &Parts, headers: &mut HeaderMap) {
        if let Some(hook) = &self.headers {
            hook(request, headers);
        }
    }

    pub(crate) fn refused(&self, request: &Parts, error: &ConnectionError) {
        if let Some(hook) = &self.connection_error {
            hook(request, error);
        }
    }
}
