//! Loops of one's own and the library's: what is stopped goes on to the same bits, lone tensors and ranges of quantisers
//! included.

use std::path::Path;

use rebit::nn::cifar_resnet;
use rebit::prelude::*;

fn small(seed: u64) -> Result<Net> {
    let net = cifar_resnet(3, 8, [4, 8, 8], 1, 5, rng(seed))?;
    net.quantise(|_| Ok(Slots::bits(4)))?;
    Ok(net)
}

/// A network and two lone tensors of one name, all trained.
struct Pupil {
    net: Net,
    leaves: [Leaf; 2],
}

fn pupil(seed: u64) -> Result<(Pupil, Groups)> {
    let net = small(seed)?;
    let leaf = |k: u64| Leaf::matrix(randn(5, 3, &mut rng(seed + k)));
    let leaves = [leaf(1), leaf(2)];
    let groups = Sgd::new(0.05).momentum(0.9).over(&net)?;
    let groups = groups.over(&leaves[0])?.over(&leaves[1])?;
    let groups = groups.group(Role::Bound, Adam::new(1e-3));
    Ok((Pupil { net, leaves }, groups))
}

impl Pupil {
    fn loss(&self, step: usize) -> Result<Scalar<Taped>> {
        let mut rng = rng(100 + step as u64);
        let (x, goal) = (images(8, 3, 8, 8, &mut rng), randn(8, 3, &mut rng));
        let (mut one, mut two) = (
            self.net.run(&x, Mode::Train)?,
            self.net.run(&x, Mode::Train)?,
        );
        let one = matmul(one.matrix("fc")?, self.leaves[0].as_matrix()?);
        let two = matmul(two.matrix("fc")?, self.leaves[1].as_matrix()?);
        Ok(total(vec![
            (1.0, squared_error(one, &goal)),
            (0.5, squared_error(two, &goal)),
        ]))
    }

    fn bits(&self) -> Result<Vec<u32>> {
        let params = self.net.parameters();
        let params = params.iter().flat_map(|p| p.to_vec());
        let leaves = self.leaves.iter().flat_map(|l| l.to_vec());
        Ok(params.chain(leaves).map(f32::to_bits).collect())
    }
}

type State = (usize, Vec<StateTensor>);

/// A loop of one's own that stops before a step and writes where it is.
fn own(pupil: &Pupil, groups: &mut Groups, file: &Path, stop_before: usize) -> Result<()> {
    let mut step = 0;
    if let Some((at, state)) = read_state::<State>(file)? {
        groups.restore(&state)?;
        step = at;
    }
    while step < 8 {
        if step == stop_before {
            write_state(file, &(step, groups.state()?))?;
            return Err(Error::Interrupted);
        }
        groups.step(&mut pupil.loss(step)?.backward())?;
        step += 1;
    }
    Ok(())
}

#[test]
fn a_stopped_loop_goes_on_to_the_same_bits_wherever_it_stopped() -> Result<()> {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (whole, mut groups) = pupil(1)?;
    own(
        &whole,
        &mut groups,
        &folder.path().join("whole"),
        usize::MAX,
    )?;
    // Before the first step neither averages nor ranges are there yet.
    for stop in [0, 1, 5] {
        let file = folder.path().join(format!("{stop}"));
        let (stopped, mut groups) = pupil(1)?;
        let end = own(&stopped, &mut groups, &file, stop);
        assert!(matches!(end, Err(Error::Interrupted)));
        let (resumed, mut groups) = pupil(7)?;
        own(&resumed, &mut groups, &file, usize::MAX)?;
        assert_eq!(resumed.bits()?, whole.bits()?, "stopped before step {stop}");
    }
    Ok(())
}

struct Pull<'a>(&'a Pupil);

impl Task for Pull<'_> {
    fn steps(&self) -> usize {
        4
    }
    fn start(&mut self, _: usize, _: usize) -> Result<()> {
        Ok(())
    }
    fn loss(&mut self, _: &Net, step: Step) -> Result<Loss> {
        Ok(self.0.loss(step.iteration)?.into())
    }
}

struct StopBefore(usize);

impl Observer for StopBefore {
    fn before_step(&mut self, step: Step, _: &Net) -> Result<()> {
        // As the user's request does, which the trainer answers before the next step.
        if step.iteration + 1 == self.0 {
            show::interrupt::request();
        }
        Ok(())
    }
}

#[test]
fn the_trainer_goes_on_to_the_bits_of_the_own_loop() -> Result<()> {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (whole, mut groups) = pupil(1)?;
    own(
        &whole,
        &mut groups,
        &folder.path().join("whole"),
        usize::MAX,
    )?;
    let run = |pupil: &Pupil, groups: Groups, stop: usize| -> Result<History> {
        let mut stop = StopBefore(stop);
        Trainer::new(2, groups)
            .show(rebit::train::Shown::Nothing)
            .observe(&mut stop)
            .checkpoint(Some(folder.path().join("run")), 0, "pull")
            .run(&pupil.net, &mut Pull(pupil))
    };
    let (stopped, groups) = pupil(1)?;
    assert!(matches!(run(&stopped, groups, 3), Err(Error::Interrupted)));
    let (resumed, groups) = pupil(7)?;
    let history = run(&resumed, groups, usize::MAX)?;
    assert_eq!(history.epochs.len(), 2);
    assert_eq!(resumed.bits()?, whole.bits()?);
    Ok(())
}

#[test]
fn a_state_of_other_rules_or_another_network_is_refused() -> Result<()> {
    let (pupil, mut groups) = pupil(1)?;
    groups.step(&mut pupil.loss(0)?.backward())?;
    let state = groups.state()?;
    let adam = |net: &Net| -> Result<Groups> { Adam::new(0.1).over(net) };
    let refused = adam(&small(1)?)?.restore(&state).unwrap_err().to_string();
    assert!(refused.contains("no first that fits"), "{refused}");
    let other = cifar_resnet(3, 8, [4, 8, 16], 1, 5, rng(1))?;
    let refused = adam(&other)?.restore(&state).unwrap_err().to_string();
    assert!(refused.contains("parameter"), "{refused}");
    assert_eq!(
        other.state()?,
        cifar_resnet(3, 8, [4, 8, 16], 1, 5, rng(1))?.state()?
    );
    Ok(())
}

#[test]
fn a_file_of_a_network_that_saw_nothing_leaves_ranges_to_the_first_batch() -> Result<()> {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("fresh.safetensors");
    let (net, other) = (small(1)?, small(2)?);
    net.save(&file, &[])?;
    other.load(&file)?;
    let x = images(4, 3, 8, 8, &mut rng(3));
    assert!(other.predict(&x).is_err(), "a range was taken for read");
    net.calibrate(&x)?;
    other.calibrate(&x)?;
    assert_eq!(other.state()?, net.state()?);
    Ok(())
}

#[test]
fn a_frozen_handle_computes_no_gradient_of_a_parameter_whoever_asks() -> Result<()> {
    let net = cifar_resnet(3, 8, [4, 8, 8], 1, 5, rng(1))?;
    let x = images(2, 3, 8, 8, &mut rng(2));
    let top = images(2, 5, 1, 1, &mut rng(3));
    let largest = |net: &Net| -> Result<f32> {
        let pass = net.trace(&x, Mode::Eval)?;
        let mut grads = pass.backward(&[("fc", &top)], Wants::ALL)?;
        let weight = net.parameter("fc.weight")?.value;
        let gradient = grads.get_or_alloc_mut(&weight)?.view()?.into_owned();
        Ok(gradient.iter().fold(0.0, |m, g| m.max(g.abs())))
    };
    assert!(largest(&net)? > 0.0);
    assert_eq!(largest(&net.frozen())?, 0.0);
    Ok(())
}
