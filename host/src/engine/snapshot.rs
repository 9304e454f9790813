//! A component with its state written into it: what `load` did need not be done again.

use std::pin::pin;
use std::task::{Context, Poll, Waker};

use wasmtime::component::{Instance, Lift, WasmList};
use wasmtime::{Store, bail};
use wasmtime_wizer::{ComponentContext, ComponentInstanceState, Wizer};

/// Add exports to a component through which its memory and globals can be read.
pub(super) fn instrument(wasm: &[u8]) -> wasmtime::Result<(ComponentContext<'_>, Vec<u8>)> {
    Wizer::new().instrument_component(wasm)
}

/// The component of `context` with the state that `instance`, of its instrumented form, has now.
pub(super) fn take<T: Send + 'static>(
    context: &ComponentContext<'_>,
    store: &mut Store<T>,
    instance: Instance,
) -> wasmtime::Result<Vec<u8>> {
    let mut state = State { store, instance, error: None };
    let wasm = {
        let wizer = Wizer::new();
        let snapshot = pin!(wizer.snapshot_component(context, &mut state));
        // Nothing in it waits: the functions below answer at once.
        match snapshot.poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(wasm) => wasm?,
            Poll::Pending => bail!("a snapshot waits for something"),
        }
    };
    match state.error {
        Some(error) => Err(error),
        None => Ok(wasm),
    }
}

/// Wizer's view of an instance. Its functions cannot fail, so the first error is kept for later.
struct State<'a, T: 'static> {
    store: &'a mut Store<T>,
    instance: Instance,
    error: Option<wasmtime::Error>,
}

impl<T: 'static> State<'_, T> {
    fn read<R: Lift + 'static, U: Default>(
        &mut self,
        instance: &str,
        function: &str,
        use_it: impl FnOnce(&Store<T>, R) -> U,
    ) -> U {
        match self.call(instance, function) {
            Ok(value) => use_it(self.store, value),
            Err(error) => {
                self.error.get_or_insert(error);
                U::default()
            }
        }
    }

    fn call<R: Lift + 'static>(&mut self, instance: &str, function: &str) -> wasmtime::Result<R> {
        let missing = || wasmtime::format_err!("no function {instance}#{function}");
        let outer = self.instance.get_export_index(&mut *self.store, None, instance);
        let outer = outer.ok_or_else(missing)?;
        let inner = self.instance.get_export_index(&mut *self.store, Some(&outer), function);
        let inner = inner.ok_or_else(missing)?;
        let function = self.instance.get_typed_func::<(), (R,)>(&mut *self.store, inner)?;
        let (value,) = function.call(&mut *self.store, ())?;
        Ok(value)
    }
}

impl<T: Send + 'static> ComponentInstanceState for State<'_, T> {
    async fn call_func_ret_list_u8(
        &mut self,
        instance: &str,
        function: &str,
        contents: impl FnOnce(&[u8]) + Send,
    ) {
        self.read(instance, function, |store, list: WasmList<u8>| {
            contents(list.as_le_slice(store));
        });
    }

    async fn call_func_ret_s32(&mut self, instance: &str, function: &str) -> i32 {
        self.read(instance, function, |_, value| value)
    }

    async fn call_func_ret_s64(&mut self, instance: &str, function: &str) -> i64 {
        self.read(instance, function, |_, value| value)
    }

    async fn call_func_ret_f32(&mut self, instance: &str, function: &str) -> u32 {
        self.read(instance, function, |_, value: f32| value.to_bits())
    }

    async fn call_func_ret_f64(&mut self, instance: &str, function: &str) -> u64 {
        self.read(instance, function, |_, value: f64| value.to_bits())
    }
}
