//! From the commands, which are not asynchronous, to the client, which is.

use super::error::ClientError;

/// Runs a future on a runtime of this thread.
pub(in super::super) fn block_on<T, E>(future: impl Future<Output = Result<T, E>>) -> Result<T, E>
where
    E: From<ClientError>,
{
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(ClientError::Runtime)?;
    let result = runtime.block_on(future);
    // A lookup of a name that hangs is not waited for.
    runtime.shutdown_background();
    result
}
