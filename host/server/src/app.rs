//! The routes, what every request passes, and the server's life.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::{Extension, middleware};
use tokio::net::TcpListener;
use tower_http::catch_panic::CatchPanicLayer;
use utoipa_axum::router::OpenApiRouter;

use crate::context::{Context, Parts};
use crate::identity::{self, Identity};
use crate::layers::{connections, envelope, form};
use crate::problem::{self, Problem};
use crate::resources::description::{self, Description};
use crate::resources::metrics::Metrics;
use crate::runs::Runs;
use crate::{inbox, langgraph, resources};

/// How long answers may take to end after runs have stopped.
const GRACE: Duration = Duration::from_secs(2);

/// A server: its routes, and the worker that advances threads behind them.
pub struct Server {
    context: Context,
}

impl Server {
    /// Puts the parts together. Nothing runs yet.
    pub fn new(parts: Parts) -> Self {
        let metrics = Metrics::default();
        let parts = Parts { engine: parts.engine.with_timings(Arc::new(metrics.timings())), ..parts };
        let identity = Identity::new(&parts);
        let runs = Runs::new(&parts);
        Self { context: Context::new(parts, identity, runs, metrics) }
    }

    /// What handlers get.
    pub fn context(&self) -> &Context {
        &self.context
    }

    /// Refuses to listen where strangers come by while nobody could prove who they are.
    ///
    /// # Errors
    /// `HP0802`, and the store's.
    pub async fn check_listen(&self, address: SocketAddr) -> Result<(), Problem> {
        identity::check_listen(&self.context, address).await
    }

    /// All routes with all layers, and their description.
    pub fn router(&self) -> (axum::Router, utoipa::openapi::OpenApi) {
        let (router, description) = OpenApiRouter::<Context>::new()
            .merge(langgraph::routes())
            .merge(resources::routes())
            .merge(inbox::routes())
            .merge(identity::routes())
            .split_for_parts();
        let description = description::named(description);
        let router = router
            .fallback(problem::no_such_path)
            .method_not_allowed_fallback(problem::no_such_method)
            // The last layer is the outermost.
            .layer(Extension(Description::of(&description)))
            .layer(middleware::from_fn_with_state(self.context.clone(), form::read))
            .layer(middleware::from_fn_with_state(self.context.clone(), identity::identify))
            .layer(CatchPanicLayer::custom(envelope::panicked))
            .layer(envelope::cors(self.context.settings()))
            .layer(middleware::from_fn_with_state(self.context.clone(), envelope::wrap))
            .with_state(self.context.clone());
        (router, description)
    }

    /// Serves until `stop` is ready, then takes no more connections, asks runs to stop at their next superstep, and waits for them and for what is
    /// being answered as long as the settings say.
    ///
    /// # Errors
    /// When the listener has no address: it is of no use then.
    pub async fn serve(
        self,
        listener: TcpListener,
        stop: impl Future<Output = ()> + Send + 'static,
    ) -> std::io::Result<()> {
        let address = listener.local_addr()?;
        tracing::info!(%address, "serving");
        let (router, _) = self.router();
        let worker = self.context.runs().start();
        let grace = self.context.settings().drain + GRACE;
        connections::serve(listener, router, &self.context, stop, worker.drain(), grace).await;
        Ok(())
    }
}
