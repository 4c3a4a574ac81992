//! GPUs that WebGPU can use.

use std::pin::pin;
use std::task::{Context, Poll, Waker};

use super::DeviceError;

/// What [`::wgpu::Backends::PRIMARY`] stands for outside a browser.
const INTERFACES: &str = "Vulkan, Metal and DirectX 12";

pub(super) fn check() -> Result<(), DeviceError> {
    match adapters() {
        adapters if adapters.is_empty() => Err(DeviceError::NoAdapter { looked_for: INTERFACES }),
        _ => Ok(()),
    }
}

fn adapters() -> Vec<::wgpu::Adapter> {
    let instance = ::wgpu::Instance::default();
    let mut search = pin!(instance.enumerate_adapters(::wgpu::Backends::PRIMARY));
    // Outside a browser, the search is complete at the first poll.
    match search.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(adapters) => adapters,
        Poll::Pending => Vec::new(),
    }
}

/// Returns the adapters' names.
pub(super) fn list() -> Result<String, String> {
    let named = |adapter: ::wgpu::Adapter| {
        let info = adapter.get_info();
        format!("{} ({}, {:?})", info.name, info.backend, info.device_type)
    };
    match adapters() {
        adapters if adapters.is_empty() => Err(format!("looked for {INTERFACES} adapters and found none")),
        adapters => Ok(adapters.into_iter().map(named).collect::<Vec<_>>().join(", ")),
    }
}
