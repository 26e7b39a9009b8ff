//! Values of the kernel contract in the form that aya takes.

use super::SensorError;
use aya::Ebpf;
use aya::maps::{Map, MapError};
use zerocopy::{FromBytes, Immutable, IntoBytes};

/// A value of `norma_abi` that crosses to or from the kernel as plain bytes.
#[derive(Clone, Copy, Debug)]
#[repr(transparent)]
pub struct Shared<T>(pub T);

// SAFETY: `FromBytes` says that every bit pattern is a value, `IntoBytes` that there is no padding.
unsafe impl<T: Copy + FromBytes + IntoBytes + Immutable + 'static> aya::Pod for Shared<T> {}

/// Takes a typed map out of the loaded object.
pub fn take<M: TryFrom<Map, Error = MapError>>(ebpf: &mut Ebpf, name: &str) -> Result<M, SensorError> {
    let map = ebpf.take_map(name).ok_or_else(|| no_map(name))?;
    M::try_from(map).map_err(|error| SensorError::Load {
        reason: format!("map {name}: {error}"),
    })
}

/// The object and the agent do not agree.
pub fn no_map(name: &str) -> SensorError {
    SensorError::Load {
        reason: format!("the built programs have no map {name}"),
    }
}
