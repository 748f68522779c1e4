//! Makes a component of a core module that carries its WIT world (`make examples`).

use anyhow::Context as _;

fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let (Some(from), Some(to)) = (arguments.next(), arguments.next()) else {
        anyhow::bail!("usage: componentize CORE.wasm COMPONENT.wasm");
    };
    let module = std::fs::read(&from).with_context(|| format!("reading {from}"))?;
    let component = wit_component::ComponentEncoder::default()
        .module(&module)
        .with_context(|| format!("{from} carries no component type"))?
        .validate(true)
        .encode()
        .with_context(|| format!("making a component of {from}"))?;
    std::fs::write(&to, component).with_context(|| format!("writing {to}"))
}
