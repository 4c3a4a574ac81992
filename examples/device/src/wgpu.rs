//! GPUs that WebGPU can use.

use std::pin::pin;
use std::task::{Context, Poll, Waker};

use ::wgpu::{AdapterInfo, DeviceType};
use burn::backend::wgpu::WgpuDevice;
use burn::backend::wgpu::graphics::{AutoGraphicsApi, GraphicsApi};

use super::{DeviceError, DeviceLine};

/// Checks that there is a GPU of that number.
pub(super) fn check(index: usize) -> Result<(), DeviceError> {
    let adapters = adapters();
    match adapters.len() {
        0 => Err(DeviceError::NoAdapter { looked_for: AutoGraphicsApi::backend().to_str() }),
        found if index > found => {
            let names = adapters.into_iter().map(|adapter| adapter.name).collect::<Vec<_>>().join(", ");
            Err(DeviceError::NoSuchAdapter { index, found, names })
        }
        _ => Ok(()),
    }
}

/// Returns Burn's device of that number; the preferred one if there is none.
pub fn device(index: usize) -> WgpuDevice {
    let kinds: Vec<DeviceType> = adapters().into_iter().map(|adapter| adapter.device_type).collect();
    let Some(&kind) = index.checked_sub(1).and_then(|position| kinds.get(position)) else {
        return WgpuDevice::DefaultDevice;
    };
    // Burn numbers the GPUs of each kind.
    let number = kinds[..index - 1].iter().filter(|&&other| other == kind).count();
    match kind {
        DeviceType::DiscreteGpu => WgpuDevice::DiscreteGpu(number),
        DeviceType::IntegratedGpu => WgpuDevice::IntegratedGpu(number),
        DeviceType::VirtualGpu => WgpuDevice::VirtualGpu(number),
        DeviceType::Cpu => WgpuDevice::Cpu,
        DeviceType::Other => WgpuDevice::DefaultDevice,
    }
}

/// Returns the GPUs of the graphics interface that Burn uses on this system, in its order.
fn adapters() -> Vec<AdapterInfo> {
    let instance = ::wgpu::Instance::default();
    let mut search = pin!(instance.enumerate_adapters(AutoGraphicsApi::backend().into()));
    // Outside a browser, the search is complete at the first poll.
    match search.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(adapters) => adapters.iter().map(::wgpu::Adapter::get_info).collect(),
        Poll::Pending => Vec::new(),
    }
}

/// Returns a line for each GPU.
pub(super) fn list() -> Vec<DeviceLine> {
    let line = |(number, info): (usize, AdapterInfo)| {
        (format!("wgpu:{number}"), Ok(format!("{} ({}, {:?})", info.name, info.backend, info.device_type)))
    };
    let lines: Vec<DeviceLine> = (1..).zip(adapters()).map(line).collect();
    match lines.is_empty() {
        true => {
            let looked_for = AutoGraphicsApi::backend().to_str();
            vec![("wgpu".into(), Err(format!("looked for {looked_for} adapters and found none")))]
        }
        false => lines,
    }
}
