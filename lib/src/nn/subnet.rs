//! A network inside another one: run by a quantiser or a layer, on parameters that the other network owns.

use std::sync::{Arc, Mutex, MutexGuard};

use super::Mode;
use super::builder::NetBuilder;
use super::exec::Exec;
use super::extent::Extent;
use super::graph::{Graph, Node};
use super::net::Net;
use super::param::{Param, ParamId};
use super::params::Params;
use super::pass::Pass;
use super::slots::Placed;
use super::wants::{Top, TopKind, Wants};
use crate::ops::tape::zeros;
use crate::{Buffer, Error, Grads, HostAccess, Result};

/// A network that runs inside another one, in a [`Quantiser`](super::Quantiser) or a [`Layer`](super::Layer): a gate on its
/// input, say. Its parameters are the other network's, called `PREFIX.NAME`, so whatever trains, counts, saves or restores
/// the other one does the same with them; [`Net::add_network`] and [`NetBuilder::sub_network`] make it. A clone runs on the
/// same layers, for a duplicate of the other network too: numbers are those of the parameters that are lent to it.
///
/// ```
/// use rebit::nn::{Extent, Quantise, QuantiseGrad, Quantiser, RangeKind, SubNet, SubPass, Wants};
/// use rebit::prelude::*;
///
/// /// Multiplies an input by what a network makes of it.
/// struct Gated(SubNet);
///
/// impl Quantiser for Gated {
///     fn bits(&self) -> u32 {
///         8
///     }
///     fn range(&self) -> RangeKind {
///         RangeKind::None
///     }
///     fn parameters(&self) -> Vec<rebit::nn::ParamId> {
///         self.0.parameters().to_vec()
///     }
///     fn quantise(&mut self, cx: &mut Quantise) -> Result<()> {
///         let (x, extent, mode) = (rebit::buffer(&cx.input().view()?)?, cx.extent(), cx.mode());
///         let pass = self.0.forward(cx.params_mut()?, vec![(x, extent)], mode)?;
///         let (x, gate) = (cx.input().view()?, pass.output().view()?.into_owned());
///         cx.output().edit(|y| (0..y.len()).for_each(|i| y[i] = x[i] * gate[i]))?;
///         cx.remember(pass);
///         Ok(())
///     }
///     fn gradient(&mut self, cx: &mut QuantiseGrad) -> Result<()> {
///         let pass = cx.memo::<SubPass>()?;
///         let product = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| a * b).collect::<Vec<f32>>();
///         let (x, dy) = (cx.input().view()?, cx.dy().view()?.into_owned());
///         let dgate = rebit::buffer(&product(&dy, &x))?;
///         let own = product(&dy, &pass.output().view()?);
///         // What the input does through the gate too.
///         let through = pass.backward(dgate, Wants::ALL, cx.params(), cx.grads())?;
///         let through = through[0].as_ref().expect("wanted").view()?.into_owned();
///         let (dx, accumulate) = cx.dx();
///         dx.edit(|dx| for (i, dx) in dx.iter_mut().enumerate() {
///             let d = own[i] + through[i];
///             *dx = if accumulate { *dx + d } else { d };
///         })
///     }
///     fn duplicate(&self) -> Result<Box<dyn Quantiser>> {
///         Ok(Box::new(Gated(self.0.clone())))
///     }
/// }
///
/// let mut b = NetBuilder::new(4, 1, 1, rng(0));
/// let x = b.linear("fc", b.input(), 4)?;
/// let x = b.sigmoid("gate", x)?;
/// let gate = b.build(x)?;
///
/// let mut b = NetBuilder::new(3, 1, 1, rng(1));
/// let x = b.linear("first", b.input(), 4)?;
/// let x = b.linear("second", x, 2)?;
/// let net = b.build(x)?;
/// let inside = net.add_network("second.gate", &gate)?;
/// net.quantise_input("second", Gated(inside), Range::MinMax)?;
/// assert_eq!(net.parameter("second.gate.fc.weight")?.dims, [4, 4]);
/// let worst = rebit::nn::check_gradients(&net, &images(2, 3, 1, 1, &mut rng(2)))?;
/// assert!(worst.error < 0.02, "{worst}");
/// # Ok::<(), Error>(())
/// ```
#[derive(Clone)]
pub struct SubNet {
    exec: Arc<Mutex<Exec>>,
    parameters: Vec<ParamId>,
}

/// A forward pass of a [`SubNet`], for [`Quantise::remember`](super::Quantise::remember) or
/// [`ForwardPass::remember`](super::ForwardPass::remember).
pub struct SubPass {
    exec: Arc<Mutex<Exec>>,
    /// Taken by the backward pass.
    pass: Mutex<Option<Pass>>,
    output: Buffer,
}

impl Net {
    /// Puts the layers, numbers and quantisers of `other` into this network, for one of its quantisers to run. `other` stays
    /// as it is and apart.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a name that there is already, a layer that cannot be had on other parameters
    /// ([`Layer::with_parameters`](super::Layer::with_parameters)), and a quantiser with parameters, or that acts after a
    /// step of the optimiser; this network is then as before.
    pub fn add_network(&self, prefix: &str, other: &Net) -> Result<SubNet> {
        if self.is_same(other) {
            let why = "cannot run inside itself; give Net::duplicate of it";
            return Err(Error::invalid(format!("network {prefix:?}"), why));
        }
        SubNet::of(prefix, other, &mut self.lock().params)
    }
}

impl NetBuilder {
    /// [`Net::add_network`] for a layer of the network that is being built.
    ///
    /// # Errors
    /// As [`Net::add_network`].
    pub fn sub_network(&mut self, prefix: &str, other: &Net) -> Result<SubNet> {
        SubNet::of(prefix, other, self.params())
    }
}

impl SubNet {
    fn of(prefix: &str, inner: &Net, params: &mut Params) -> Result<SubNet> {
        let inner = inner.lock();
        let refuse = |what: &str, why: &str| {
            let what = format!("network {prefix:?}, layer {what}");
            Err(Error::invalid(what, why))
        };
        let first = params.len();
        let on = |id: &ParamId| first + id;
        let mut nodes = Vec::with_capacity(inner.graph.nodes.len());
        let mut slots = Vec::with_capacity(inner.graph.nodes.len());
        for (node, quantisers) in inner.graph.nodes.iter().zip(&inner.slots) {
            let own = |slot: &Placed| {
                let quantiser = &slot.quantiser;
                slot.read_off().next().is_some()
                    || !quantiser.parameters().is_empty()
                    || quantiser.acts_after_step()
            };
            if quantisers.both().any(own) {
                let why = "has a quantiser with parameters of its own; one that reads its range in each pass has none";
                return refuse(&node.name, why);
            }
            let layer = match &node.layer {
                Some(layer) if !layer.parameters().is_empty() => {
                    let ids: Vec<ParamId> = layer.parameters().iter().map(on).collect();
                    match layer.with_parameters(&ids) {
                        Some(layer) => Some(layer),
                        None => return refuse(&node.name, "cannot be had on other parameters"),
                    }
                }
                layer => layer.clone(),
            };
            nodes.push(Node {
                layer,
                ..node.clone()
            });
            slots.push(quantisers.duplicate()?);
        }
        let named = (0..inner.params.len()).map(|id| {
            let p = inner.params.describe(id);
            let name = format!("{prefix}.{}", p.name);
            let numbers = inner.params.view(id)?.into_owned();
            Param::new(name, p.dims.clone(), p.role, numbers)
        });
        let parameters = params.add_all(named.collect::<Result<Vec<_>>>()?)?;
        let mut exec = Exec::new(Arc::new(Graph::new(nodes, inner.graph.output)));
        exec.slots = slots;
        Ok(SubNet {
            exec: Arc::new(Mutex::new(exec)),
            parameters,
        })
    }

    /// Its parameters among those of the network that it runs in.
    pub fn parameters(&self) -> &[ParamId] {
        &self.parameters
    }

    /// Runs it on inputs of `(samples, height, width, channels)`, each with the extent of a sample. `params` are those of the
    /// network that it runs in; running statistics move while that one trains.
    ///
    /// # Errors
    /// As [`Net::predict_images`].
    pub fn forward(
        &self,
        params: &mut Params,
        inputs: Vec<(Buffer, Extent)>,
        mode: Mode,
    ) -> Result<SubPass> {
        let mut exec = lock(&self.exec);
        let pass = exec.forward(params, inputs, mode, (true, &[]))?;
        let found = pass.activation(exec.graph.output)?;
        let mut output = zeros(found.elements())?;
        output.copy_from(found)?;
        Ok(SubPass {
            exec: self.exec.clone(),
            pass: Mutex::new(Some(pass)),
            output,
        })
    }
}

impl SubPass {
    /// The output, `(samples, height, width, channels)`.
    pub fn output(&self) -> &Buffer {
        &self.output
    }

    /// The backward pass from the output's gradient: adds the gradients of parameters to `grads` and returns those of the
    /// inputs, as far as they are wanted.
    ///
    /// # Errors
    /// [`Error::Shape`] for a gradient of another size; [`Error::Invalid`] the second time.
    pub fn backward(
        &self,
        dy: Buffer,
        wants: Wants,
        params: &Params,
        grads: &mut Grads,
    ) -> Result<Vec<Option<Buffer>>> {
        if dy.elements() != self.output.elements() {
            let expected = format!("a gradient of {} numbers", self.output.elements());
            return Err(Error::shape("backward", expected, dy.elements()));
        }
        let pass = self.taken().ok_or_else(|| {
            let why = "has been through its backward pass already; run the network again";
            Error::invalid("a pass of a network inside another", why)
        })?;
        let mut exec = lock(&self.exec);
        let top = Top {
            node: exec.graph.output,
            kind: TopKind::Whole(dy),
        };
        exec.backward(pass, vec![top], wants, (params, grads))
    }

    fn taken(&self) -> Option<Pass> {
        let mut pass = self.pass.lock().unwrap_or_else(|e| e.into_inner());
        pass.take()
    }
}

impl Drop for SubPass {
    /// A pass without a backward pass gives its buffers back.
    fn drop(&mut self) {
        if let (Some(mut pass), Ok(mut exec)) = (self.taken(), self.exec.try_lock()) {
            pass.release(&mut exec.pool);
        }
    }
}

fn lock(exec: &Mutex<Exec>) -> MutexGuard<'_, Exec> {
    exec.lock().unwrap_or_else(|e| e.into_inner())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::layers::testing::net;
    use crate::nn::{Affine, BackwardPass, Extent, ForwardPass, Layer, Rounded, Slots};
    use crate::ops::assert_close;
    use crate::quant::Range;
    use crate::train::{Optimiser, Sgd};
    use crate::{Images, from_vec, images, read, rng};

    /// A layer that is nothing but a network inside.
    struct Inside(SubNet);

    impl Layer for Inside {
        fn extent(&self, _: &[Extent]) -> Result<Extent> {
            Ok(Extent::vector(2))
        }
        fn parameters(&self) -> Vec<ParamId> {
            self.0.parameters().to_vec()
        }
        fn forward(&self, cx: &mut ForwardPass) -> Result<()> {
            let (x, extent, mode) = (cx.input(0).view()?, cx.extents()[0], cx.mode());
            let inputs = vec![(crate::buffer(&x)?, extent)];
            let pass = self.0.forward(cx.params_mut(), inputs, mode)?;
            cx.output().copy_from(pass.output())?;
            cx.remember(pass);
            Ok(())
        }
        fn backward(&self, cx: &mut BackwardPass) -> Result<()> {
            let (pass, dy) = (cx.memo::<SubPass>()?, cx.take_dy()?);
            let wants = Wants {
                input: cx.wants(0),
                parameters: cx.wants_params(),
            };
            let found = pass.backward(dy, wants, cx.params(), cx.grads())?;
            match found.into_iter().flatten().next() {
                Some(dx) => cx.give_dx(0, dx),
                None => Ok(()),
            }
        }
    }

    /// Three layers with a norm, and weights on three levels.
    fn small() -> Result<Net> {
        let net = net((3, 1, 1), |b, x| {
            let x = b.linear_with("a", x, 4, false)?;
            let x = b.norm("bn", x, crate::ops::relu::Activation::Relu)?;
            b.linear("b", x, 2)
        })?;
        net.quantise(|_| {
            Ok(Slots::weights(
                Rounded::symmetric(2),
                Range::MaxAbs.each_pass(),
            ))
        })?;
        Ok(net)
    }

    fn batch() -> Images {
        images(5, 3, 1, 1, &mut rng(7))
    }

    /// A loss and an SGD step of a network that ends in `output`; what it answers after that.
    fn trained(net: &Net) -> Result<Vec<f32>> {
        use dfdx::prelude::{Backward, MeanTo, Trace};
        let mut sgd = Sgd::new(0.1).momentum(0.9).over(net)?;
        for _ in 0..3 {
            let y = net.forward(batch().leaky_trace(), Mode::Train)?;
            sgd.step(&mut y.square().mean().backward())?;
        }
        Ok(read(&net.predict(&batch())?))
    }

    #[test]
    fn inside_it_trains_and_answers_as_it_does_alone_to_the_bit() -> Result<()> {
        let alone = small()?;
        let mut b = NetBuilder::new(3, 1, 1, rng(0));
        let inside = b.sub_network("inside", &alone)?;
        let x = b.layer("layer", &[b.input()], Inside(inside))?;
        let around = b.build(x)?;
        assert_eq!(around.parameter_count(), alone.parameter_count());
        assert_eq!(trained(&around)?, trained(&alone)?);
        // Running statistics moved and are saved as the outer network's.
        for name in ["a.weight", "bn.running_var", "b.bias"] {
            let inner = around.parameter(&format!("inside.{name}"))?.to_vec();
            assert_eq!(inner, alone.parameter(name)?.to_vec(), "{name}");
        }
        Ok(())
    }

    #[test]
    fn the_state_of_the_outer_network_holds_it() -> Result<()> {
        let around = |seed| -> Result<Net> {
            let mut b = NetBuilder::new(3, 1, 1, rng(seed));
            let inside = b.sub_network("inside", &small()?)?;
            let x = b.layer("layer", &[b.input()], Inside(inside))?;
            b.build(x)
        };
        let (one, other) = (around(0)?, around(1)?);
        let answer = trained(&one)?;
        assert_ne!(read(&other.predict(&batch())?), answer);
        other.restore(&one.state()?)?;
        assert_eq!(read(&other.predict(&batch())?), answer);
        Ok(())
    }

    #[test]
    fn what_cannot_run_inside_is_refused_and_leaves_the_network_as_it_was() -> Result<()> {
        let outer = small()?;
        let count = outer.parameters().len();
        let error = |inner: &Net, prefix: &str| {
            let found = outer.add_network(prefix, inner).err();
            found.expect("refused").to_string()
        };
        assert!(error(&outer, "x").contains("inside itself"));
        let ranged = net((3, 1, 1), |b, x| b.linear("fc", x, 2))?;
        ranged.quantise(|_| Ok(Slots::none().inputs(Affine::bits(4), Range::MinMax)))?;
        assert!(error(&ranged, "x").contains("layer fc"));
        struct Own;
        impl Layer for Own {
            fn extent(&self, inputs: &[Extent]) -> Result<Extent> {
                Ok(inputs[0])
            }
            fn parameters(&self) -> Vec<ParamId> {
                vec![0]
            }
            fn forward(&self, cx: &mut ForwardPass) -> Result<()> {
                cx.map(|x| x)
            }
            fn backward(&self, _: &mut BackwardPass) -> Result<()> {
                Ok(())
            }
        }
        let own = net((3, 1, 1), |b, x| {
            b.scalar("own.slope", super::super::Role::Weight, 1.0)?;
            b.layer("own", &[x], Own)
        })?;
        assert!(error(&own, "x").contains("other parameters"));
        outer.add_network("x", &small()?)?;
        assert!(error(&small()?, "x").contains("\"x.a.weight\""));
        assert_eq!(outer.parameters().len(), 2 * count);
        Ok(())
    }

    #[test]
    fn a_pass_goes_back_once_by_a_gradient_of_its_size() -> Result<()> {
        let outer = small()?;
        let inside = outer.add_network("x", &small()?)?;
        let mut inner = outer.lock();
        let x = crate::buffer(&[0.5, -1.0, 2.0, 1.0, 0.0, -0.5])?;
        let inputs = vec![(x, Extent::vector(3))];
        let pass = inside.forward(&mut inner.params, inputs, Mode::Eval)?;
        let answer = pass.output().view()?.into_owned();
        let (params, mut grads) = (&inner.params, Grads::leaky());
        let mut back = |n| {
            let dy = crate::buffer(&vec![1.0; n])?;
            pass.backward(dy, Wants::INPUT, params, &mut grads)
        };
        let error = back(3).map(drop).expect_err("a shape").to_string();
        assert!(error.contains("4 numbers"), "{error}");
        assert_eq!(back(4)?[0].as_ref().map(|dx| dx.elements()), Some(6));
        let error = back(4).map(drop).expect_err("spent").to_string();
        assert!(error.contains("already"), "{error}");
        drop(inner);
        let same: Images = from_vec(vec![0.5, -1.0, 2.0, 1.0, 0.0, -0.5], (2, 3, 1, 1))?;
        assert_close(&answer, &read(&outer.predict(&same)?), 1e-6);
        Ok(())
    }
}
