//! What continuing depends on, as it is seen from a desk: the plan that would be made, and whether artifacts are whole.

use super::desk::Desk;
use super::reading::Reads;
use super::retry::Wanted;
use crate::domain::flow::proceed::{Again, Ahead};
use crate::domain::flow::record::{Artifact, Checkpoint};
use crate::domain::flow::refusal::Refusal;
use crate::flow::objects::Objects;

/// So many bytes of artifacts are read where somebody only wants to know what could be done: with what is larger, and was
/// not read before, it has to do that it is there and as long as it was.
pub(super) const AT_A_GLANCE: u64 = 16 << 20;

/// `reads`: where what is looked at thoroughly is read; where nobody says, here.
pub(super) fn look(
    objects: &Objects,
    artifacts: &[Artifact],
    thorough: bool,
    mut reads: Option<&mut Reads>,
    may_read: &mut u64,
) -> Result<(), String> {
    artifacts.iter().try_for_each(|artifact| {
        let looked = match &mut reads {
            _ if !thorough => objects.glance(artifact, may_read),
            Some(reads) => return reads.look(objects, artifact),
            None => objects.verify(artifact),
        };
        looked.map_err(|error| error.to_string())
    })
}

/// What continuing would do, asked where somebody looks from.
#[derive(Debug)]
pub struct Forward<'d, 'a> {
    desk: &'d mut Desk<'a>,
    thorough: bool,
    may_read: u64,
}

impl Ahead for Forward<'_, '_> {
    fn plan(&mut self, again: &Again) -> Result<(), Refusal> {
        self.desk.plan_again(&Wanted::from(again), self.thorough).map(drop)
    }

    fn look(&mut self, checkpoint: &Checkpoint) -> Result<(), String> {
        let reads = self.desk.reads.as_deref_mut();
        look(self.desk.objects, &checkpoint.artifacts, self.thorough, reads, &mut self.may_read)
    }
}

impl<'a> Desk<'a> {
    /// What continuing depends on, seen from here.
    pub const fn ahead(&mut self, thorough: bool) -> Forward<'_, 'a> {
        Forward { desk: self, thorough, may_read: AT_A_GLANCE }
    }
}
